import { isDeepStrictEqual } from "node:util";
import type { EventPayload, Events } from "@kernia/events";

/** A standard event: its name and its payload. */
export type StandardEvent = {
  [Name in StandardEventName]: readonly [Name, EventPayload<Name>];
}[StandardEventName];
export type StandardEventName = Extract<
  keyof Events,
  `organization.member.${string}` | "user.deleted"
>;

/** What the tables contain: the members by the id of their row, and the ids of the users. */
export interface Tables {
  readonly members: ReadonlyMap<string, Member>;
  readonly users: ReadonlySet<string>;
}

export interface Member {
  readonly organizationId: string;
  readonly userId: string;
  readonly role: string;
}

type Rows = readonly Record<string, unknown>[];

/** Whatever the type of the ids is. */
export function toTables(members: Rows, users: Rows): Tables {
  return {
    members: new Map(members.map((row) => [String(row["id"]), toMember(row)])),
    users: new Set(users.map(({ id }) => String(id))),
  };
}

export function toMember(row: Readonly<Record<string, unknown>>): Member {
  const { organizationId, userId, role } = row;
  return {
    organizationId: String(organizationId),
    userId: String(userId),
    role: String(role),
  };
}

/** The events that the difference between the two calls for, memberships before users. */
export function expectedEvents(before: Tables, after: Tables): StandardEvent[] {
  const ids = new Set([...before.members.keys(), ...after.members.keys()]);
  const ofMembers = [...ids].flatMap((id) =>
    memberEvents(before.members.get(id), after.members.get(id)),
  );
  const deleted = [...before.users].filter((userId) => !after.users.has(userId));
  return [...ofMembers, ...deleted.map(userDeleted)];
}

/** The events that a change of one row of members calls for. */
export function memberEvents(was: Member | undefined, is: Member | undefined): StandardEvent[] {
  if (was && is && membershipOf(was) === membershipOf(is)) {
    if (was.role === is.role) return [];
    return [["organization.member.updated", { ...is, action: "updated" }]];
  }
  const events: StandardEvent[] = [];
  if (was) events.push(["organization.member.removed", { ...was, action: "removed" }]);
  if (is) events.push(["organization.member.added", { ...is, action: "added" }]);
  return events;
}

export function userDeleted(userId: string): StandardEvent {
  return ["user.deleted", { userId, action: "deleted" }];
}

/**
 * Whether the events, each applied to what was there by then, lead from the tables before to the tables
 * after: there may be more of them than the difference shows.
 */
export function leadsTo(before: Tables, events: readonly StandardEvent[], after: Tables): boolean {
  const roles = rolesOf(before);
  const users = new Set(before.users);
  for (const [event, payload] of events) {
    if (event === "user.deleted") {
      if (!users.delete(payload.userId)) return false;
      continue;
    }
    const membership = membershipOf(payload);
    const isKnown = roles.has(membership);
    if (isKnown === (event === "organization.member.added")) return false;
    if (event === "organization.member.removed") roles.delete(membership);
    else roles.set(membership, payload.role);
  }
  const remaining = [...before.users].filter((id) => after.users.has(id));
  return isDeepStrictEqual([roles, users], [rolesOf(after), new Set(remaining)]);
}

/** Whether the deletion of a user was emitted before the removal of a membership of theirs. */
export function deletedTooEarly(events: readonly StandardEvent[]): boolean {
  return events.some(([event, { userId }], index) => {
    const later = events.slice(index + 1);
    return event === "user.deleted" && later.some(([, payload]) => payload.userId === userId);
  });
}

/** Brings events into an order in which they can be compared. */
export function sorted(events: readonly StandardEvent[]): string[] {
  return events
    .map(([event, payload]) => JSON.stringify([event, Object.entries(payload).sort()]))
    .sort();
}

/** The same for all rows and events of that membership. */
export function membershipOf({ organizationId, userId }: Omit<Member, "role">): string {
  return `${organizationId} ${userId}`;
}

function rolesOf({ members }: Tables): Map<string, string> {
  return new Map([...members.values()].map((member) => [membershipOf(member), member.role]));
}
