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
  return {
    members: new Map(
      members.map(({ id, organizationId, userId, role }: Member & { id: unknown }) => [
        String(id),
        { organizationId: String(organizationId), userId: String(userId), role },
      ]),
    ),
    users: new Set(users.map(String)),
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
  const rolesBefore = roles(before);
  return permutations(told).some((events) => {
    const roleOf = new Map(rolesBefore);
    const users = new Set(before.users);
    const eachIsTrue = events.every((event) => apply(event, roleOf, users));
    return (
      eachIsTrue &&
      same(roleOf, roles(after)) &&
      [...before.users].every((id) => users.has(id) === after.users.has(id))
    );
  });
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

function apply([event, payload]: Told, roleOf: Map<string, string>, users: Set<string>): boolean {
  if (event === "user.deleted") return users.delete(payload.userId);
  const { organizationId, userId, role } = payload;
  const key = `${organizationId} ${userId}`;
  const had = roleOf.get(key);
  if (event === "organization.member.removed") return had === role && roleOf.delete(key);
  roleOf.set(key, role);
  return event === "organization.member.added"
    ? had === undefined
    : had !== undefined && had !== role;
}

function roles({ members }: Tables): Map<string, string> {
  const byMembership = [...members.values()].map(
    ({ organizationId, userId, role }) => [`${organizationId} ${userId}`, role] as const,
  );
  return new Map(byMembership);
}

function same(one: Map<string, string>, other: Map<string, string>): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value);
}

function permutations<Item>(items: readonly Item[]): Item[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) =>
    permutations(items.filter((_, other) => other !== index)).map((rest) => [item, ...rest]),
  );
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
