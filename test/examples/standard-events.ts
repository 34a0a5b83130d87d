import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";

/**
 * Emits the four standard events, whichever route, plugin or server-side call makes the change: they
 * all write through Better Auth's database adapter, and this plugin wraps its methods. A change made
 * in a transaction is told once it is committed, and never if it is rolled back. Whoever made the
 * change waits until the handlers are done.
 *
 * What it costs: not one query more for sign-in, sessions, and adding a member. Where a transaction
 * is not open already, changing a role, removing a member, and deleting a user or an organization
 * open one. Removing a member takes no further query; the others take up to four small ones, and
 * some more for each thousand members.
 *
 * What it cannot see: raw SQL, and anything else that writes past Better Auth's adapter; and a member
 * who joins in the moment between the reading of the members and the deletion of their organization
 * or user. Without transactions in the adapter, two servers that remove the same memberships with a
 * user or an organization at the same moment may both tell of it.
 */
export function standardEvents() {
  return {
    id: "standard-events",

    init(auth) {
      // One type for the adapters of all versions, and for those of a transaction.
      watch(auth.adapter as unknown as Adapter, auth.tables, async (changes) => {
        for (const together of changes) {
          await Promise.all(together.map(([event, payload]) => getBus(auth).emit(event, payload)));
        }
      });
    },
  } satisfies BetterAuthPlugin;
}

type Change = { [Name in keyof Events]: [Name, EventPayload<Name>] }[keyof Events];
type Tables = { [model: string]: { modelName: string } };
type Row = { id: unknown; organizationId: unknown; userId: unknown; role: string };
type Where = { field: string; value: unknown; operator?: string; connector?: string }[];
type Query = { model: string; where: Where; limit?: number; update?: object; set?: object };
type Result = Row | number | null | void;
type Write = "update" | "updateMany" | "incrementOne" | "delete" | "deleteMany" | "consumeOne";
type Adapter = { [method in Write]: (query: Query) => Promise<Result> } & {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Query): Promise<Row[]>;
  transaction<Answer>(run: (adapter: Adapter) => Promise<Answer>): Promise<Answer>;
};
type Scope = { adapter: Adapter; tables: Tables; locks: boolean };

/** Wraps the methods of `adapter`. The changes of a group are told at once, and the groups in turn. */
function watch(adapter: Adapter, tables: Tables, tell: (changes: Change[][]) => unknown): Adapter {
  const original = { ...adapter };
  let lastTurn: Promise<unknown> = Promise.resolve();

  adapter.create = async (query) => {
    const row = await original.create(query);
    if (modelOf(query, tables) === "member") await tell([[added({ ...query.data, ...row })]]);
    return row;
  };

  adapter.transaction = async (run) => {
    const changes: Change[][] = [];
    const answer = await original.transaction((transaction) => {
      // Without transactions it is the adapter itself, which is watched already.
      if (transaction === adapter) return run(adapter);
      changes.length = 0; // Some adapters run again what failed.
      return run(watch({ ...transaction }, tables, (more) => changes.push(...more)));
    });
    await tell(changes);
    return answer;
  };

  for (const method of writes.filter((method) => original[method])) {
    adapter[method] = async (query) => {
      const model = modelOf(query, tables);
      const matters =
        model === "member" ? deletes(method) || changesMembership(query) : deletes(method);
      if (!model || !matters) return original[method](query);
      const write = model === "member" ? changeMembers : deleteOwners;
      const [result, changes] = await original.transaction((transaction) => {
        if (transaction !== adapter) {
          return write({ adapter: transaction, tables, locks: true }, method, query);
        }
        // Without transactions, this process at least makes one such change after the other.
        const scope = { adapter: original, tables, locks: false };
        const turn = lastTurn.then(() => write(scope, method, query));
        lastTurn = turn.catch(() => {});
        return turn;
      });
      await tell(changes);
      return method === "delete" ? undefined : result;
    };
  }
  return adapter;
}

const writes: Write[] = [
  "update",
  "updateMany",
  "incrementOne",
  "delete",
  "deleteMany",
  "consumeOne",
];
const deletes = (method: Write) => writes.indexOf(method) > 2;
/** Better Auth stops at 100 rows where no limit is given. */
const all = 2 ** 31 - 1;

async function changeMembers(
  { adapter, ...scope }: Scope,
  method: Write,
  query: Query,
): Promise<[Result, Change[][]]> {
  const [{ field, operator = "eq" } = { field: "" }, ...more] = query.where;
  const byId = field === "id" && operator === "eq" && more.length === 0;
  if (adapter.consumeOne && (method === "consumeOne" || (method === "delete" && byId))) {
    // Where two delete the same row at once, one of them gets it.
    const member = (await adapter.consumeOne(query)) as Row | null;
    return [member, member ? [[removed(member)]] : []];
  }
  const write = () => adapter[method === "delete" ? "deleteMany" : method](query);
  const [result, changes] = await comparing({ adapter, ...scope }, query.where, write);
  return [result, [changes]];
}

/** Deletes users or organizations one by one, with the memberships that the database takes along. */
async function deleteOwners(
  scope: Scope,
  method: Write,
  query: Query,
): Promise<[Result, Change[][]]> {
  const one = method === "consumeOne";
  const model = modelOf(query, scope.tables);
  const owners = await scope.adapter.findMany({ ...query, limit: one ? 1 : all });
  let answer: Result = one ? null : 0;
  const changes: Change[][] = [];
  for (const { id } of owners) {
    const where = [...query.where, { field: "id", value: id }];
    const write = () => scope.adapter[one ? method : "deleteMany"]({ ...query, where });
    const [result, ofMembers] = await comparing(scope, [{ field: `${model}Id`, value: id }], write);
    if (isNothing(result)) continue;
    answer = one ? result : Number(answer) + 1;
    changes.push(ofMembers);
    if (model === "user") changes.push([["user.deleted", { userId: `${id}`, action: "deleted" }]]);
  }
  return [answer, changes];
}

/** Writes, and compares the members at `where` before and after. */
async function comparing(
  scope: Scope,
  where: Where,
  write: () => Promise<Result>,
): Promise<[Result, Change[]]> {
  const before = scope.tables["member"] ? await readMembers(scope, where) : [];
  const result = await write();
  if (isNothing(result)) return [result, []];
  const changes: Change[] = [];
  // Databases bound how many values there may be in a query.
  for (let from = 0; from < before.length; from += 100) {
    const members = before.slice(from, from + 100);
    const where = [{ field: "id", operator: "in", value: members.map(({ id }) => id) }];
    const after = await scope.adapter.findMany({ model: "member", where, limit: all });
    for (const member of members) {
      changes.push(
        ...difference(
          member,
          after.find(({ id }) => id === member.id),
        ),
      );
    }
  }
  return [result, changes];
}

/** Reads members, and keeps others from changing them until the end of the transaction. */
async function readMembers({ adapter, locks }: Scope, where: Where): Promise<Row[]> {
  const locked = new Set<string>();
  for (;;) {
    const members = await adapter.findMany({ model: "member", where, limit: all });
    const roles = new Set(members.map(({ role }) => role).filter((role) => !locked.has(role)));
    if (!locks || roles.size === 0) return members;
    // An adapter has no other way to lock a row than to write it, here with the role that it has.
    for (const role of [...roles].sort()) {
      const unchanged = [...where, { field: "role", value: role }];
      await adapter.updateMany({ model: "member", where: unchanged, update: { role } });
      locked.add(role);
    }
  }
}

function difference(before: Row, after: Row | undefined): Change[] {
  if (!after) return [removed(before)];
  const [was, is] = [memberEvent(before, "updated"), memberEvent(after, "updated")];
  if (was.userId !== is.userId || was.organizationId !== is.organizationId) {
    return [removed(before), added(after)];
  }
  return was.role === is.role ? [] : [["organization.member.updated", is]];
}

function added(row: Row): Change {
  return ["organization.member.added", memberEvent(row, "added")];
}

function removed(row: Row): Change {
  return ["organization.member.removed", memberEvent(row, "removed")];
}

function memberEvent<Action extends string>({ organizationId, userId, role }: Row, action: Action) {
  return { organizationId: `${organizationId}`, userId: `${userId}`, role, action };
}

function changesMembership({ update, set }: Query): boolean {
  return ["role", "userId", "organizationId"].some((field) => field in { ...update, ...set });
}

function isNothing(result: Result): boolean {
  return result === 0 || result === null;
}

/** Plugins use the names of the models; an app might use those of its tables. */
function modelOf({ model }: { model: string }, tables: Tables) {
  return (["member", "user", "organization"] as const).find((name) =>
    [name, tables[name]?.modelName].some((known) => model === known || model === `${known}s`),
  );
}
