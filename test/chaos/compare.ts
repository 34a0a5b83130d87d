import type { Row, Transaction } from "../fixtures/decoded-changes";

export interface StandardEvent {
  readonly event: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

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

/** Returns the standard events of the committed changes. */
export function expectedEvents(transactions: readonly Transaction[]): StandardEvent[] {
  return transactions.flatMap(({ changes }) => {
    const events = changes
      .filter(({ table }) => table === "member")
      .flatMap(({ old, new: row }) => memberEvents(old, row));
    // The last change of a user decides whether the user exists after the commit.
    const users = new Map<unknown, boolean>();
    for (const { table, old, new: row } of changes) {
      if (table === "user") users.set((row ?? old)!["id"], row !== undefined);
    }
    for (const [userId, exists] of users) {
      if (!exists) events.push({ event: "user.deleted", payload: { userId, action: "deleted" } });
    }
    return events;
  });
}

function memberEvents(old: Row | undefined, row: Row | undefined): StandardEvent[] {
  const same = (column: string) => old?.[column] === row?.[column];
  const event = (action: string, { organizationId, userId, role }: Row) => ({
    event: `organization.member.${action}`,
    payload: { organizationId, userId, role, action },
  });
  if (old && row && same("organizationId") && same("userId")) {
    return same("role") ? [] : [event("updated", row)];
  }
  return [...(old ? [event("removed", old)] : []), ...(row ? [event("added", row)] : [])];
}

/** Compares events whatever their order. */
export function compareEvents(
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
  for (const { event, payload } of events) {
    const key = JSON.stringify([event, Object.entries(payload).sort()]);
    times.set(key, (times.get(key) ?? 0) + 1);
  }
  return times;
}
