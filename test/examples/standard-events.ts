// Needs Better Auth 1.3 or newer.

import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";

/**
 * Emits the four standard events, whichever route, plugin or server-side call makes the change: all
 * of them write through Better Auth's database adapter, and this plugin wraps its methods. A change
 * that is made in a transaction is told once it is committed, and never if it is rolled back. The
 * request that makes it waits for the handlers.
 *
 * What it costs: not one query for sign-in, sessions, creating an organization and accepting an
 * invitation. Removing a member takes four small queries more, changing a role six, and deleting a
 * user or an organization seven, the beginning and the end of a transaction among them; and one more
 * for each hundred members, and for each role that they have.
 *
 * What it cannot see: raw SQL, and anything else that writes past Better Auth's adapter; a member who
 * joins while their user or organization is deleted, between the reading of the memberships and the
 * deletion; and, where the adapter has no transactions, another server that removes the same members
 * at the same moment: then both may tell of it.
 */
export function standardEvents() {
  return {
    id: "standard-events",

    init(auth) {
      // One type for the adapters of all versions, and for those of a transaction.
      const adapter = auth.adapter as unknown as Adapter;
      const tell: Tell = (together) =>
        Promise.all(together.map(([event, payload]) => getBus(auth).emit(event, payload)));
      watch(adapter, { adapter: { ...adapter }, tables: auth.tables, locks: false, tell });
    },
  } satisfies BetterAuthPlugin;
}

const deletions = ["delete", "deleteMany", "consumeOne"] as const;
const writes = ["update", "updateMany", "incrementOne", ...deletions] as const;
type Write = (typeof writes)[number];
type Change = { [Name in keyof Events]: [Name, EventPayload<Name>] }[keyof Events];
type Tables = { [model: string]: { modelName: string } };
type Row = { id: unknown; organizationId: unknown; userId: unknown; role: string };
type Where = { field: string; value: unknown; operator?: string }[];
type Query = { model: string; where: Where; limit?: number; update?: object; set?: object };
type Result = Row | number | null | void;
type Adapter = { [method in Write]: (query: Query) => Promise<Result> } & {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Query): Promise<Row[]>;
  transaction<Answer>(run: (adapter: Adapter) => Promise<Answer>): Promise<Answer>;
};
/** The members of a list of changes are told at the same time. */
type Tell = (together: Change[]) => unknown;
type Scope = { adapter: Adapter; locks: boolean; tables: Tables; tell: Tell };

/** Better Auth stops at 100 rows where no limit is given. */
const all = 2 ** 31 - 1;

const isNothing = (result: Result) => result === 0 || result === null;
const concernsMembers = ({ update, set }: Query) =>
  ["role", "userId", "organizationId"].some((field) => field in { ...update, ...set });

/** Plugins use the names of the models; an app might use those of its tables. */
const modelOf = ({ model }: { model: string }, tables: Tables) =>
  ["member", "user", "organization"].find((name) =>
    [name, tables[name]?.modelName].some((known) => model === known || model === `${known}s`),
  );

/** Gives the adapter methods that tell what they change. */
function watch(adapter: Adapter, scope: Scope): Adapter {
  const { adapter: original, locks, tables, tell } = scope;
  let lastTurn: Promise<unknown> = Promise.resolve();

  adapter.create = async (query) => {
    const row = await original.create(query);
    if (modelOf(query, tables) === "member") await tell([told("added", { ...query.data, ...row })]);
    return row;
  };

  adapter.transaction = async (run) => {
    const changes: Change[][] = [];
    const answer = await original.transaction((inner) => {
      // Without transactions, and mostly within one, an adapter hands out itself.
      if (inner === adapter || inner === original) return run(adapter);
      changes.length = 0; // Some adapters run again what failed.
      const keep: Tell = (together) => changes.push(together);
      return run(watch({ ...inner }, { adapter: inner, locks: true, tables, tell: keep }));
    });
    for (const together of changes) await tell(together);
    return answer;
  };

  const begin: Adapter["transaction"] = locks ? (run) => run(adapter) : adapter.transaction;
  for (const method of writes.filter((method) => original[method])) {
    adapter[method] = async (query) => {
      const model = modelOf(query, tables);
      const deletes = deletions.some((deletion) => deletion === method);
      const matters = deletes ? model : model === "member" && concernsMembers(query);
      if (!matters) return original[method](query);
      return begin(async (transaction) => {
        if (transaction !== adapter) return transaction[method](query);
        const changes: Change[][] = [];
        const keep: Tell = (together) => changes.push(together);
        const change = model === "member" ? write : deleteEach;
        // Nothing else keeps two changes apart, on one connection or without transactions.
        const turn = lastTurn.then(() => change({ ...scope, tell: keep }, method, query));
        lastTurn = turn.catch(() => {});
        const result = await turn;
        for (const together of changes) await tell(together);
        return method === "delete" ? undefined : result;
      });
    };
  }
  return adapter;
}

/** Deletes users or organizations, with the memberships that the database takes along. */
async function deleteEach(scope: Scope, method: Write, query: Query): Promise<Result> {
  const one = method === "consumeOne";
  const model = modelOf(query, scope.tables);
  const results: Result[] = [];
  for (const { id } of await scope.adapter.findMany({ ...query, limit: one ? 1 : all })) {
    const where = [...query.where, { field: "id", value: id }];
    const memberships = [{ field: `${model}Id`, value: id }];
    const result = await write(scope, method, { ...query, where }, memberships);
    if (isNothing(result)) continue;
    results.push(result);
    if (model === "user") scope.tell([["user.deleted", { userId: `${id}`, action: "deleted" }]]);
  }
  return one ? (results[0] ?? null) : results.length;
}

/** Writes, and compares the members that are concerned before and after. */
async function write(scope: Scope, method: Write, query: Query, members = query.where) {
  const { adapter, tables, tell } = scope;
  const before = tables["member"] ? await readMembers(scope, members) : [];
  // Unlike `delete`, it says how many rows went: none, where somebody else was first.
  const result = await adapter[method === "delete" ? "deleteMany" : method](query);
  if (isNothing(result)) return result;
  const together: Change[] = [];
  // A database bounds the number of values in a query.
  for (let from = 0; from < before.length; from += 100) {
    const some = before.slice(from, from + 100);
    const where = [{ field: "id", operator: "in", value: some.map(({ id }) => id) }];
    const after = await adapter.findMany({ model: "member", where, limit: all });
    for (const was of some) {
      const is = after.find(({ id }) => id === was.id);
      const same = is?.userId === was.userId && is?.organizationId === was.organizationId;
      if (!same) together.push(told("removed", was));
      if (is && (!same || is.role !== was.role))
        together.push(told(same ? "updated" : "added", is));
    }
  }
  tell(together);
  return result;
}

/** Reads members, and keeps others from changing them until the end of the transaction. */
async function readMembers({ adapter, locks }: Scope, where: Where): Promise<Row[]> {
  const locked = new Set<string>();
  for (;;) {
    const members = await adapter.findMany({ model: "member", where, limit: all });
    const roles = new Set(members.map(({ role }) => role).filter((role) => !locked.has(role)));
    if (!locks || roles.size === 0) return members;
    // An adapter has no other way to lock a row than to write it, here the role that it has.
    for (const role of [...roles].sort()) {
      const unchanged = [...where, { field: "role", value: role }];
      await adapter.updateMany({ model: "member", where: unchanged, update: { role } });
      locked.add(role);
    }
  }
}

function told(action: "added" | "removed" | "updated", { organizationId, userId, role }: Row) {
  const payload = { organizationId: `${organizationId}`, userId: `${userId}`, role, action };
  // The name and the payload have the same action, which the compiler cannot follow.
  return [`organization.member.${action}`, payload] as Change;
}
