import type { Transaction } from "../fixtures/decoded-changes";
import {
  memberEvents,
  sorted,
  toMember,
  userDeleted,
  type StandardEvent,
} from "../membership-changes/expected";

export interface Comparison {
  readonly expected: number;
  readonly emitted: number;
  /** Expected more often than emitted. */
  readonly lost: number;
  /** Emitted more often than expected. */
  readonly doubled: number;
  /** Emitted, and not expected at all. */
  readonly false: number;
}

/** Returns the standard events of what was committed. */
export function eventsOf(transactions: readonly Transaction[]): StandardEvent[] {
  return transactions.flatMap(({ changes }) => {
    const ofMembers = changes
      .filter(({ table }) => table === "member")
      .flatMap(({ old, new: row }) => memberEvents(old && toMember(old), row && toMember(row)));
    // The last change of a user decides whether the user exists after the commit.
    const users = new Map<string, boolean>();
    for (const { table, old, new: row } of changes) {
      if (table === "user") users.set(String((row ?? old)!["id"]), row !== undefined);
    }
    const deleted = [...users.keys()].filter((userId) => !users.get(userId));
    return [...ofMembers, ...deleted.map(userDeleted)];
  });
}

/** Compares events whatever their order. */
export function compare(
  expected: readonly StandardEvent[],
  emitted: readonly StandardEvent[],
): Comparison {
  const [expectedTimes, emittedTimes] = [countTimes(expected), countTimes(emitted)];
  const comparison = { lost: 0, doubled: 0, false: 0 };
  for (const [event, times] of expectedTimes) {
    comparison.lost += Math.max(0, times - (emittedTimes.get(event) ?? 0));
  }
  for (const [event, times] of emittedTimes) {
    const tooOften = Math.max(0, times - (expectedTimes.get(event) ?? 0));
    comparison[expectedTimes.has(event) ? "doubled" : "false"] += tooOften;
  }
  return { expected: expected.length, emitted: emitted.length, ...comparison };
}

function countTimes(events: readonly StandardEvent[]): Map<string, number> {
  const times = new Map<string, number>();
  for (const event of sorted(events)) times.set(event, (times.get(event) ?? 0) + 1);
  return times;
}
