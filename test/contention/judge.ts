import type { Row, Transaction } from "../fixtures/decoded-changes";
import type { Told } from "../membership-changes/expected";

export interface Verdict {
  /** Committed, and not told. */
  readonly lost: string[];
  /** Told more often than it happened. */
  readonly doubled: string[];
  /** Told, and it never happened: somebody's or another role, or what was rolled back. */
  readonly false: string[];
  /** Told by one server in another order than that of the commits, or `user.deleted` too early. */
  readonly outOfOrder: string[];
}

/**
 * Compares what was told with what was committed, for each membership and each user on its own.
 * Where one transaction changed a row more than once, either each step or the outcome is right.
 *
 * @param committed in the order of the commits.
 * @param told by each server, in the order in which it began to tell. Between two servers there is
 * no order.
 */
export function judge(committed: readonly Transaction[], told: readonly Told[][]): Verdict {
  const steps = bySubject(committed.flatMap(({ changes }) => changes).flatMap(eventsOf));
  const outcomes = bySubject(committed.flatMap(outcomeOf).flatMap(eventsOf));
  const toldBySubject = told.map(bySubject);
  const subjects = new Set([steps, outcomes, ...toldBySubject].flatMap((map) => [...map.keys()]));
  const verdict: Verdict = { lost: [], doubled: [], false: [], outOfOrder: [] };
  for (const subject of subjects) {
    const toldOfIt = toldBySubject.map((events) => events.get(subject) ?? []);
    const verdicts = [steps, outcomes].map((owed) => compare(owed.get(subject) ?? [], toldOfIt));
    const best = verdicts.reduce((one, other) => (faults(other) < faults(one) ? other : one));
    for (const kind of kinds) verdict[kind].push(...best[kind]);
  }
  for (const events of told) verdict.outOfOrder.push(...deletedTooEarly(events));
  return verdict;
}

export const kinds = ["lost", "doubled", "false", "outOfOrder"] as const;

const faults = (verdict: Verdict) => kinds.reduce((sum, kind) => sum + verdict[kind].length, 0);

function compare(owed: readonly string[], told: readonly (readonly string[])[]): Verdict {
  const verdict: Verdict = { lost: [], doubled: [], false: [], outOfOrder: [] };
  const left = [...owed];
  for (const event of told.flat()) {
    const index = left.indexOf(event);
    if (index >= 0) left.splice(index, 1);
    else verdict[owed.includes(event) ? "doubled" : "false"].push(event);
  }
  verdict.lost.push(...left);
  if (verdict.doubled.length + verdict.false.length + verdict.lost.length > 0) return verdict;
  for (const events of told) {
    if (!isSubsequence(events, owed)) {
      verdict.outOfOrder.push(`${events.join(" ")} rather than ${owed.join(" ")}`);
    }
  }
  return verdict;
}

function isSubsequence(events: readonly string[], of: readonly string[]): boolean {
  let from = 0;
  return events.every((event) => {
    const index = of.indexOf(event, from);
    from = index + 1;
    return index >= 0;
  });
}

/** The events by whom they are about: a user's membership of an organization, or a user. */
function bySubject(events: readonly Told[]): Map<string, string[]> {
  const subjects = new Map<string, string[]>();
  for (const [event, payload] of events) {
    const subject =
      "organizationId" in payload ? `${payload.organizationId} ${payload.userId}` : payload.userId;
    const role = "role" in payload ? `(${payload.role})` : "";
    const list = subjects.get(subject) ?? [];
    list.push(`${event}${role} of ${subject}`);
    subjects.set(subject, list);
  }
  return subjects;
}

interface Change {
  readonly table: string;
  readonly old?: Row | undefined;
  readonly new?: Row | undefined;
}

/** The first and the last state of each row that a transaction changed. */
function outcomeOf({ changes }: Transaction): Change[] {
  const rows = new Map<string, Change>();
  for (const change of changes) {
    const key = `${change.table} ${(change.old ?? change.new)!["id"]}`;
    const { old } = rows.get(key) ?? change;
    rows.set(key, { table: change.table, old, new: change.new });
  }
  return [...rows.values()];
}

function eventsOf({ table, old, new: is }: Change): Told[] {
  if (table === "user") {
    return old && !is ? [["user.deleted", { userId: `${old["id"]}`, action: "deleted" }]] : [];
  }
  const sameMembership =
    old?.["userId"] === is?.["userId"] && old?.["organizationId"] === is?.["organizationId"];
  if (old && is && sameMembership) {
    return old["role"] === is["role"] ? [] : [memberEvent("updated", is)];
  }
  return [...(old ? [memberEvent("removed", old)] : []), ...(is ? [memberEvent("added", is)] : [])];
}

function memberEvent(action: "added" | "removed" | "updated", row: Row): Told {
  const { organizationId, userId, role } = row;
  return [`organization.member.${action}`, { organizationId, userId, role, action }] as Told;
}

/** What was told of somebody's memberships after `user.deleted`. */
function deletedTooEarly(told: readonly Told[]): string[] {
  const deleted = new Set<string>();
  return told.flatMap(([event, { userId }]) => {
    if (event === "user.deleted") deleted.add(userId);
    return event !== "user.deleted" && deleted.has(userId)
      ? [`${event} of ${userId}, deleted`]
      : [];
  });
}
