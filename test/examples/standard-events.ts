import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";

/**
 * Emits the four standard events, whichever route, plugin or server-side call makes the change: all
 * of them write through Better Auth's database adapter, and this plugin wraps its methods.
 */
export function standardEvents(): { id: "standard-events"; init: BetterAuthPlugin["init"] & {} } {
  return {
    id: "standard-events",
    init(auth) {
      // One type for the adapters of all versions, and for those of a transaction.
      const adapter = auth.adapter as unknown as Adapter;
      const underWay = new Set<Change[]>();
      const tell = (changes: Change[]) => {
        for (const others of underWay) correct(others, changes);
        return Promise.all(changes.map(({ event, payload }) => getBus(auth).emit(event, payload)));
      };
      const { tables } = auth;
      watch(adapter, {
        original: { ...adapter },
        own: adapter,
        locks: false,
        tables,
        underWay,
        tell,
      });
    },
  };
}

type Row = { id: string; organizationId: string; userId: string; role: string };
type Where = { field: string; value: unknown; operator?: string; connector?: string }[];
type Query = { model: string; where: Where; update?: object; set?: object };
type Page = Query & { limit: number; sortBy?: { field: string; direction: "asc" } };
type Owner = "userId" | "organizationId";
type Result = Row | number | null | void;
type Adapter = { [method in Write]: (query: Query) => Promise<Result> } & {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Page): Promise<Row[]>;
  transaction<Answer>(run: (adapter: Adapter) => Promise<Answer>): Promise<Answer>;
};
const deletions = ["delete", "deleteMany", "consumeOne"] as const;
const writes = ["update", "updateMany", "incrementOne", ...deletions] as const;
type Write = (typeof writes)[number];
/** What is to be told, and the id of the row that it is about. */
type Change = {
  [Name in keyof Events]: { id: string; event: Name; payload: EventPayload<Name> };
}[keyof Events];
interface Scope {
  /** The methods of the adapter, or of a transaction's, before they were wrapped. */
  original: Adapter;
  /** What an adapter without transactions hands out in place of one: itself. */
  own: Adapter;
  /** Whether this is a transaction, so that what was written stays locked. */
  locks: boolean;
  tables: { [model: string]: { modelName: string } };
  /** What is told once its transaction is committed, or its deletion is done. */
  underWay: Set<Change[]>;
  tell(changes: Change[]): unknown;
}

/** Gives the adapter methods that tell what they change. */
function watch(adapter: Adapter, scope: Scope): Adapter {
  const { original, tables, tell } = scope;
  adapter.create = async (query) => {
    const row = await original.create(query);
    if (modelOf(query, tables) === "member") await tell([told("added", { ...query.data, ...row })]);
    return row;
  };
  adapter.transaction = (run) =>
    inTransaction(scope, (inner) =>
      run(inner === scope ? adapter : watch({ ...inner.original }, inner)),
    );
  for (const method of writes.filter((method) => original[method])) {
    const deletes = deletions.some((deletion) => deletion === method);
    adapter[method] = async (query) => {
      const model = modelOf(query, tables);
      if (deletes && model === "member") return deleteMembers(scope, method, query);
      if (deletes && model === "user") return deleteOwners(scope, method, query, "userId");
      if (deletes && model) return deleteOwners(scope, method, query, "organizationId");
      if (model !== "member" || Object.keys(changesOf(query)).length === 0)
        return original[method](query);
      return updateMembers(scope, method, query);
    };
  }
  return adapter;
}

async function updateMembers(scope: Scope, method: Write, query: Query): Promise<Result> {
  const { role, ...moves } = changesOf(query);
  const many = method === "updateMany";
  const onlyRole = isExact(scope) && Object.keys(moves).length === 0;
  if (onlyRole && idOf(query)) {
    // One query, if it was another role: it does not matter which. Meanwhile it may change again.
    for (const operator of ["ne", "eq", "ne", "eq"]) {
      const where = [...query.where, { field: "role", operator, value: role }];
      const row = (await scope.original[many ? "update" : method]({
        ...query,
        where,
      })) as Row | null;
      if (row && operator === "ne") await scope.tell([told("updated", row)]);
      if (row) return many ? 1 : row;
    }
    return many ? 0 : null;
  }
  const rows = await read(scope, query, method === "incrementOne" ? 1 : undefined);
  const answers = await atomically(
    scope,
    rows.length > 0 && !(onlyRole && rows.length === 1),
    async (inner) => {
      const answers: Result[] = [];
      const together = many && inner.locks;
      const held = together || !onlyRole ? await hold(inner, query.where, rows) : rows;
      for (const some of slices(held, together ? 500 : 1)) {
        const at = { ...query, where: [...query.where, like(some, "id")] };
        if (!together && onlyRole) answers.push(await updateMembers(inner, method, at));
        else {
          answers.push(await inner.original[method](at));
          await inner.tell(
            some.flatMap((was) => differences(was, { ...was, ...changesOf(query) })),
          );
        }
      }
      return answers;
    },
  );
  return many ? sum(answers) : (answers[0] ?? null);
}

async function deleteMembers(scope: Scope, method: Write, query: Query): Promise<Result> {
  const one = method === "consumeOne";
  const answer = (count: number) => (method === "delete" ? undefined : count);
  if (one || (isExact(scope) && idOf(query))) {
    // One query, exact without a lock: the row comes back as it was when it was deleted.
    const row = (await scope.original.consumeOne(query)) as Row | null;
    if (row) await scope.tell([told("removed", row)]);
    return one ? row : answer(row ? 1 : 0);
  }
  const rows = await read(scope, query);
  const alone = rows.length === 1 && isExact(scope);
  if (alone)
    return deleteMembers(scope, method, { ...query, where: [...query.where, like(rows, "id")] });
  let count = 0;
  await atomically(scope, rows.length > 0, async (inner) => {
    count = 0;
    const held = await hold(inner, query.where, rows);
    for (const some of slices(held, inner.locks ? 500 : 50))
      await tellGone(inner, removals(some), async () => {
        const where = [...query.where, like(some, "id")];
        const deleted = (await inner.original.deleteMany({ ...query, where })) as number;
        count += deleted;
        const all = inner.locks || deleted === some.length;
        return all ? () => false : isAmong(await readAgain(inner, some));
      });
  });
  return answer(count);
}

/** Deletes users or organizations, and tells of the memberships that the database takes along. */
async function deleteOwners(scope: Scope, method: Write, query: Query, field: Owner) {
  const one = method === "consumeOne";
  const id = idOf(query);
  const owners = id ? [{ id } as Row] : await read(scope, query, one ? 1 : undefined);
  const members: Row[] = [];
  for (const some of scope.tables["member"] ? slices(owners, 50) : [])
    members.push(
      ...(await read(scope, { model: "member", where: [{ ...like(some, "id"), field }] })),
    );
  const answers = await atomically(
    scope,
    members.length > 0 || owners.length > 1,
    async (inner) => {
      const answers: Result[] = [];
      const held = await hold(inner, [], members);
      for (const some of slices(owners, inner.locks ? 1 : 50)) {
        const theirs = held.filter((row) => some.some(({ id }) => `${id}` === `${row[field]}`));
        const users = field === "userId" ? some.map(toldDeleted) : [];
        await tellGone(inner, [...removals(theirs), ...users], async () => {
          const at = { ...query, where: [...query.where, like(some, "id")] };
          const result = await inner.original[one ? method : "deleteMany"](at);
          answers.push(result);
          if (!result) return () => true;
          // Whether memberships go along is up to the database.
          const membersLeft = isAmong(await readAgain(inner, theirs));
          const all = one || result === some.length;
          const ownersLeft = isAmong(
            all ? [] : await read(inner, { ...query, where: [like(some, "id")] }),
          );
          return (change) => (change.event === "user.deleted" ? ownersLeft : membersLeft)(change);
        });
      }
      return answers;
    },
  );
  return one ? (answers[0] ?? null) : method === "delete" ? undefined : sum(answers);
}

/**
 * Locks members until the end of the transaction, by writing to them what they have, and returns those
 * that are still there, as they are now. Without transactions there is nothing to lock.
 */
async function hold({ original, locks }: Scope, where: Where, rows: Row[]): Promise<Row[]> {
  const held: Row[] = [];
  const roles = locks ? [...new Set(rows.map(({ role }) => role))].sort() : [];
  for (const some of roles.flatMap((role) =>
    slices(
      rows.filter((row) => row.role === role),
      500,
    ),
  )) {
    const same = (rows: Row[]) => [
      ...where,
      ...(["id", "organizationId", "userId"] as const).map((field) => like(rows, field)),
    ];
    const { role } = some[0]!;
    const asRead = {
      model: "member",
      where: [...same(some), like(some, "role")],
      update: { role },
    };
    if (isExact({ original }) && (await original.updateMany(asRead)) === some.length)
      held.push(...some);
    // Somebody changed one of them since it was read. Each comes back with the role that it has now.
    else
      for (const row of some) {
        const { userId } = row;
        const is = await original.update({
          model: "member",
          where: same([row]),
          update: { userId },
        });
        if (is) held.push(is as Row);
      }
  }
  return locks ? held : rows;
}

/** Tells of what is gone after `run`, which returns what is not, unless others told of it meanwhile. */
async function tellGone(
  { underWay, tell }: Scope,
  changes: Change[],
  run: () => Promise<(change: Change) => boolean>,
): Promise<void> {
  underWay.add(changes);
  const stayed = await run().finally(() => underWay.delete(changes));
  await tell(changes.filter((change) => !stayed(change)));
}

/** What ends happens once: whoever tells of it first corrects what others are about to tell. */
function correct(underWay: Change[], told: Change[]): void {
  for (const { id, event, payload } of told) {
    const index = underWay.findIndex(
      (change) => change.id === id && /(removed|user.deleted)$/.test(change.event),
    );
    const change = underWay[index];
    if (change?.event === event) underWay.splice(index, 1);
    else if (change && event === "organization.member.updated")
      Object.assign(change, { payload: { ...change.payload, role: payload.role } });
  }
}

/** Runs in the transaction that there is, or in one of its own if that is needed. */
const atomically = <Answer>(
  scope: Scope,
  needed: boolean,
  run: (inner: Scope) => Promise<Answer>,
) => (scope.locks || !needed ? run(scope) : inTransaction(scope, run, 5));

/** Tells what was changed once it is committed; tries anew if the database ended a deadlock by it. */
async function inTransaction<Answer>(
  scope: Scope,
  run: (inner: Scope) => Promise<Answer>,
  attempts = 1,
): Promise<Answer> {
  const kept: Change[] = [];
  let locks = false;
  let answer: Answer;
  scope.underWay.add(kept);
  try {
    answer = await scope.original.transaction((inner) => {
      if (inner === scope.own) return run(scope);
      locks = true;
      kept.length = 0; // Some adapters run again what failed.
      const tell = (changes: Change[]) => kept.push(...changes);
      return run({ ...scope, original: inner, own: inner, locks, tell });
    });
  } catch (error) {
    const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
    if (!locks || attempts === 1 || !passing.test(`${error} ${code} ${cause} ${cause?.code}`))
      throw error;
    return await inTransaction(scope, run, attempts - 1);
  } finally {
    scope.underWay.delete(kept);
  }
  await scope.tell(kept);
  return answer;
}
const passing = /deadlock|40P01|40001|serializ|P2034|ER_CHECKREAD|SQLITE_BUSY|is locked/i;

/** Reads all rows, in pages, so that others get their turn in between. */
async function read(scope: Scope, { model, where }: Query, limit = 2_000): Promise<Row[]> {
  const { original, locks } = scope;
  if (locks && typeof where[0]?.value === "string") {
    // In SQLite, a transaction that reads first cannot write once others have written.
    const nothing = ["lt", "gt"].map((operator) => ({ ...where[0]!, operator }));
    const update = model === "member" ? { role: "" } : { name: "" };
    await original.updateMany({ model, where: nothing, update });
  }
  const rows: Row[] = [];
  for (;;) {
    const last = rows.slice(-1).map(({ id }) => ({ field: "id", operator: "gt", value: id }));
    const sortBy = { field: "id", direction: "asc" } as const;
    const page = await original.findMany({ model, where: [...where, ...last], limit, sortBy });
    rows.push(...page);
    if (page.length < 2_000) return rows;
  }
}

async function readAgain({ original, locks }: Scope, rows: Row[]): Promise<Row[]> {
  const found: Row[] = [];
  for (const some of slices(rows, locks ? 500 : 50)) {
    const query = { model: "member", where: [like(some, "id")], limit: some.length };
    // What was deleted is told of, even if this fails; in a transaction nothing is deleted then.
    found.push(
      ...(await original.findMany(query).catch((error) => (locks ? Promise.reject(error) : []))),
    );
  }
  return found;
}

const isAmong = (rows: Row[]) => {
  const ids = new Set(rows.map(({ id }) => `${id}`));
  return ({ id }: Change) => ids.has(id);
};
const isExact = ({ original }: Pick<Scope, "original">) => original.consumeOne !== undefined;
const sum = (numbers: Result[]) => numbers.reduce<number>((sum, number) => sum + Number(number), 0);
const slices = <Item>(items: Item[], size: number): Item[][] =>
  items.length > size
    ? [items.slice(0, size), ...slices(items.slice(size), size)]
    : items.length > 0
      ? [items]
      : [];

/** A condition that rows with these values meet. */
function like(rows: Row[], field: keyof Row) {
  const values = [...new Set(rows.map((row) => row[field]))];
  return values.length === 1
    ? { field, value: values[0] }
    : { field, operator: "in", value: values };
}

/** The id that the query names, if it does. */
function idOf({ where }: Query): unknown {
  if (where.some(({ connector }) => connector === "OR")) return undefined;
  return where.find(({ field, operator = "eq" }) => field === "id" && operator === "eq")?.value;
}

/** What the query changes of that which is told. */
function changesOf({ update, set }: Query): Partial<Row> {
  const { role, userId, organizationId }: Partial<Row> = { ...update, ...set };
  const changes = Object.entries({ role, userId, organizationId });
  return Object.fromEntries(changes.filter(([, value]) => value !== undefined));
}

/** Plugins use the names of the models; an app might use those of its tables. */
function modelOf({ model }: { model: string }, tables: Scope["tables"]) {
  return (["member", "user", "organization"] as const).find((name) =>
    [name, tables[name]?.modelName].some((known) => model === known || model === `${known}s`),
  );
}

const removals = (rows: Row[]) => rows.map((row) => told("removed", row));

function differences(was: Row, is: Row): Change[] {
  const same = (["userId", "organizationId"] as const).every((id) => `${was[id]}` === `${is[id]}`);
  if (!same) return [told("removed", was), told("added", is)];
  return was.role === is.role ? [] : [told("updated", is)];
}

function told(action: "added" | "removed" | "updated", row: Row): Change {
  const { id, organizationId, userId, role } = row;
  const payload = { organizationId: `${organizationId}`, userId: `${userId}`, role, action };
  // The name and the payload have the same action, which the compiler cannot follow.
  return { id: `${id}`, event: `organization.member.${action}`, payload } as Change;
}

function toldDeleted({ id }: Row): Change {
  return { id: `${id}`, event: "user.deleted", payload: { userId: `${id}`, action: "deleted" } };
}
