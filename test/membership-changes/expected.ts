import type { EventPayload, Events } from "@kernia/events";
import type pg from "pg";

/** A standard event as a pair: its name and its payload. */
export type Told = { [Name in Standard]: [Name, EventPayload<Name>] }[Standard];
type Standard = Extract<keyof Events, `organization.member.${string}` | "user.deleted">;

/** What the tables say: the members by the id of their row, and the ids of the users. */
export interface Tables {
  readonly members: ReadonlyMap<string, Member>;
  readonly users: ReadonlySet<string>;
}

interface Member {
  readonly organizationId: string;
  readonly userId: string;
  readonly role: string;
}

export async function readTables(database: pg.Pool): Promise<Tables> {
  // One statement, so that both are of the same moment.
  const { rows } = await database.query(
    `select (select coalesce(json_agg(member), '[]') from member) as members,
            (select coalesce(json_agg(id), '[]') from "user") as users`,
  );
  const [{ members, users }] = rows;
  return toTables(
    members,
    users.map((id: unknown) => ({ id })),
  );
}

/** Whatever the type of the ids is. */
export function toTables(
  members: readonly Record<string, unknown>[],
  users: readonly Record<string, unknown>[],
): Tables {
  return {
    members: new Map(
      members.map(({ id, organizationId, userId, role }) => [
        String(id),
        { organizationId: String(organizationId), userId: String(userId), role: String(role) },
      ]),
    ),
    users: new Set(users.map(({ id }) => String(id))),
  };
}

/** The events that the difference between the two calls for; memberships before users. */
export function owed(before: Tables, after: Tables): Told[] {
  const events: Told[] = [];
  for (const [id, was] of before.members) {
    const is = after.members.get(id);
    if (!is) events.push(removed(was));
    else if (is.userId !== was.userId || is.organizationId !== was.organizationId) {
      events.push(removed(was), added(is));
    } else if (is.role !== was.role) events.push(updated(is));
  }
  for (const [id, is] of after.members) if (!before.members.has(id)) events.push(added(is));
  for (const userId of before.users) {
    if (!after.users.has(userId)) events.push(["user.deleted", { userId, action: "deleted" }]);
  }
  return events;
}

/**
 * Whether the events, applied one after another to what was there before, are true each and lead to
 * what was there after. More than one way of leading there is allowed, so that two changes of the
 * same membership are two events.
 */
export function leadsTo(before: Tables, told: readonly Told[], after: Tables): boolean {
  return wrongWith(before, told, after).length === 0;
}

/** The memberships and users of which what was told does not lead from the one to the other. */
export function wrongWith(before: Tables, told: readonly Told[], after: Tables): string[] {
  const [rolesBefore, rolesAfter] = [roles(before), roles(after)];
  const toldOf = new Map<string, Told[]>();
  for (const event of told)
    toldOf.set(subject(event), [...(toldOf.get(subject(event)) ?? []), event]);

  const memberships = new Set([...rolesBefore.keys(), ...rolesAfter.keys()]);
  for (const key of toldOf.keys()) if (key.includes(" ")) memberships.add(key);
  const wrongMemberships = [...memberships].filter(
    (key) => !isWay(rolesBefore.get(key), toldOf.get(key) ?? [], rolesAfter.get(key)),
  );
  const users = new Set(before.users);
  for (const key of toldOf.keys()) if (!key.includes(" ")) users.add(key);
  const wrongUsers = [...users].filter((id) => {
    const deleted = before.users.has(id) && !after.users.has(id);
    return (toldOf.get(id)?.length ?? 0) !== (deleted ? 1 : 0);
  });
  return [...wrongMemberships, ...wrongUsers];
}

/** The first `user.deleted` that came before a removal of that user, or of nobody. */
export function deletedTooEarly(told: readonly Told[]): string | undefined {
  const deleted = new Set<string>();
  for (const [event, payload] of told) {
    if (event === "user.deleted") deleted.add(payload.userId);
    else if (deleted.has(payload.userId)) return payload.userId;
  }
  return undefined;
}

/** Brings events into an order in which they can be compared. */
export function sorted(events: readonly Told[]): string[] {
  return events.map((event) => JSON.stringify(event)).sort();
}

/** A membership, or a user who was deleted. */
function subject([event, payload]: Told): string {
  if (event === "user.deleted") return payload.userId;
  return `${payload.organizationId} ${payload.userId}`;
}

/** Whether the events of one membership lead, in some order, from the one role to the other. */
function isWay(from: string | undefined, told: readonly Told[], to: string | undefined): boolean {
  if (told.length === 0) return from === to;
  return told.some((event, index) => {
    const role = apply(event, from);
    const rest = told.filter((_, other) => other !== index);
    return role !== false && isWay(role, rest, to);
  });
}

/** The role after the event, or false if the event is not true. */
function apply([event, payload]: Told, had: string | undefined): string | undefined | false {
  if (event === "user.deleted") return false;
  const { role } = payload;
  if (event === "organization.member.removed") return had === role && undefined;
  if (event === "organization.member.added") return had === undefined && role;
  return had !== undefined && had !== role && role;
}

function roles({ members }: Tables): Map<string, string> {
  const byMembership = [...members.values()].map(
    ({ organizationId, userId, role }) => [`${organizationId} ${userId}`, role] as const,
  );
  return new Map(byMembership);
}

const added = (member: Member): Told => [
  "organization.member.added",
  { ...member, action: "added" },
];
const removed = (member: Member): Told => [
  "organization.member.removed",
  { ...member, action: "removed" },
];
const updated = (member: Member): Told => [
  "organization.member.updated",
  { ...member, action: "updated" },
];
