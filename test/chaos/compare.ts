import type { Transaction } from "../fixtures/decoded-changes";
import {
  memberEvents,
  sorted,
  toMember,
  userDeleted,
  type StandardEvent,
} from "../membership-changes/expected";

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

/**
 * Compares events whatever their order: how many were expected more often than emitted, emitted more
 * often than expected, and emitted without being expected at all.
 */
export function compare(expected: readonly StandardEvent[], emitted: readonly StandardEvent[]) {
  const comparison = { lost: 0, doubled: 0, false: 0 };
  const missing = new Map<string, number>();
  for (const event of sorted(expected)) missing.set(event, (missing.get(event) ?? 0) + 1);
  for (const event of sorted(emitted)) {
    const times = missing.get(event);
    if (times === undefined) comparison.false++;
    else if (times === 0) comparison.doubled++;
    else missing.set(event, times - 1);
  }
  for (const times of missing.values()) comparison.lost += times;
  return { expected: expected.length, emitted: emitted.length, ...comparison };
}
