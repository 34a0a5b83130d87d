import type { Row, Transaction } from "../fixtures/decoded-changes";

export interface Told {
  readonly event: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

export interface Verdict {
  /** Owed more often than told. */
  lost: number;
  /** Told more often than owed. */
  doubled: number;
  /** Told, and not owed at all. */
  false: number;
}

/** The events that the committed changes call for. */
export function owedFor(transactions: readonly Transaction[]): Told[] {
  return transactions.flatMap(({ changes }) => {
    const members = changes.filter(({ table }) => table === "member");
    const users = changes.filter(({ table }) => table === "user");
    // The last change of a user says whether they are there at the commit.
    const last = new Map(users.map((change) => [(change.new ?? change.old)!["id"], change]));
    return [
      ...members.flatMap(({ old, new: row }) => owedForMember(old, row)),
      ...[...last].flatMap(([userId, { new: row }]) =>
        row ? [] : [{ event: "user.deleted", payload: { userId, action: "deleted" } }],
      ),
    ];
  });
}

function owedForMember(old: Row | undefined, row: Row | undefined): Told[] {
  const same = (column: string) => old?.[column] === row?.[column];
  if (old && row && same("organizationId") && same("userId")) {
    return same("role") ? [] : [memberEvent("updated", row)];
  }
  return [
    ...(old ? [memberEvent("removed", old)] : []),
    ...(row ? [memberEvent("added", row)] : []),
  ];
}

function memberEvent(action: string, { organizationId, userId, role }: Row): Told {
  return {
    event: `organization.member.${action}`,
    payload: { organizationId, userId, role, action },
  };
}

/** Compares what was owed with what was told, whatever the order. */
export function judge(owed: readonly Told[], told: readonly Told[]): Verdict {
  const [owedTimes, toldTimes] = [count(owed), count(told)];
  const verdict: Verdict = { lost: 0, doubled: 0, false: 0 };
  for (const [key, times] of owedTimes) {
    verdict.lost += Math.max(0, times - (toldTimes.get(key) ?? 0));
  }
  for (const [key, times] of toldTimes) {
    const tooOften = Math.max(0, times - (owedTimes.get(key) ?? 0));
    verdict[owedTimes.has(key) ? "doubled" : "false"] += tooOften;
  }
  return verdict;
}

function count(told: readonly Told[]): Map<string, number> {
  const times = new Map<string, number>();
  for (const { event, payload } of told) {
    const key = JSON.stringify([event, Object.entries(payload).sort()]);
    times.set(key, (times.get(key) ?? 0) + 1);
  }
  return times;
}
