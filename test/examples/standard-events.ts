// Needs Better Auth 1.3 to 1.7.

import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";

/**
 * Emits the four standard events, whichever route, plugin or server-side call makes the change: all
 * of them write through Better Auth's database adapter, and this plugin wraps its methods. It does not
 * see raw SQL, nor what a server without this plugin writes.
 *
 * A member is updated only if it still is as it was read, and a removal returns the row that it removed.
 * Where several are deleted, or go with their user or organization, they are locked first, in a
 * transaction: by writing to them the role that they have. So a change is told once, after its commit,
 * by the server that made it, whatever other requests and servers do: on PostgreSQL, MariaDB, SQLite
 * and libsql; with the adapter's `transaction` off, on D1 and in memory, if there is one server.
 * Requests overlap, and a slow handler lets a later change be heard first: a subscriber that must be
 * right counts anew each time, and keeps no state.
 *
 * A transaction that the database gives up for another, and that has written nothing yet, is run
 * again, whoever began it: with a lock held for longer, there are more deadlocks.
 *
 * The price: no query more for adding or removing a member, 1 for a change of a role, 6 or 7 for the
 * deletion of an account or of an organization; where several members are updated, 1 for each of them,
 * and with `transaction` off they are not one change any more. By the adapter alone, 0.6 of the
 * removals and 0.5 of the role changes a second are left, by the routes 0.9; an organization of 20,000
 * takes 0.6 seconds rather than 0.03.
 *
 * What remains:
 * - A member who joins while the database deletes their user or organization: `added`, never `removed`.
 * - A transaction of somebody else's, in MySQL at its default isolation: it reads what there was when
 *   it first read, so the role in what it tells may be older than the change.
 * - Several servers with `transaction` off: where several rows are deleted at once by two of them, or a
 *   user with memberships, both may tell.
 * - Before Better Auth 1.6, a removal takes a transaction, for it cannot return the row.
 */
export function standardEvents(): { id: "standard-events"; init: BetterAuthPlugin["init"] & {} } {
  return {
    id: "standard-events",
    init(auth) {
      // One type for the adapters of all versions, and for those of a transaction.
      const own = auth.adapter as unknown as Adapter;
      const deletions = new Set<Told>();
      const tell = (changes: Change[]) => {
        // Nothing comes after an end, even if it is told later.
        for (const told of deletions)
          for (const change of changes)
            if (!isEnd(told.get(change.id))) told.set(change.id, change);
        return Promise.all(changes.map(({ event, payload }) => getBus(auth).emit(event, payload)));
      };
      const shared = { own, deletions, writing: new Set<Writing>(), tables: auth.tables, tell };
      watch(own, { ...shared, original: { ...own }, locks: false, wrote() {} });
    },
  };
}

type Row = { id: string; organizationId: string; userId: string; role: string };
type Field = keyof Row;
type Where = { field: string; value: unknown; operator?: string; connector?: string }[];
type Query = { model: string; where: Where; update?: object; set?: object };
type Page = Query & { limit: number; sortBy: { field: string; direction: "asc" } };
type Result = Row | number | null | void;
type Adapter = { id?: string } & { [method in Write]: (query: Query) => Promise<Result> } & {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Page): Promise<Row[]>;
  transaction<Answer>(run: (adapter: Adapter) => Promise<Answer>): Promise<Answer>;
};
const removals = ["delete", "deleteMany", "consumeOne"] as const;
const writes = ["update", "updateMany", "incrementOne", ...removals] as const;
type Write = (typeof writes)[number];
/** In which field of a membership the model has its id. */
const owners = { member: "id", user: "userId", organization: "organizationId" } as const;
type Owner = (typeof owners)[keyof typeof owners];
/** What is to be told, with the id of the row that it is about. */
type Change = {
  [Name in keyof Events]: { id: string; event: Name; payload: EventPayload<Name> };
}[keyof Events];
/** What was told last of each row since a deletion began. */
type Told = Map<string, Change>;
type Writing = { id: string; write: Promise<unknown> };
interface Scope {
  /** The methods of the adapter, or of a transaction's, before they were wrapped. */
  original: Adapter;
  /** What an adapter without transactions hands out in place of one: itself. */
  own: Adapter;
  /** Whether this is a transaction, so that what was written stays locked. */
  locks: boolean;
  tables: { [model: string]: { modelName: string } };
  /** Called when something is written. */
  wrote(): void;
  /** At once; in a transaction, when it is committed. */
  tell(changes: Change[]): unknown;
  /** Those under way. Without a lock, they heed what is told meanwhile. */
  deletions: Set<Told>;
  /** In a deletion, what was told since it began. */
  told?: Told;
  /** The writes to single members that are on their way. */
  writing: Set<Writing>;
}

/** Gives the adapter methods that tell what they change. */
function watch(adapter: Adapter, scope: Scope): Adapter {
  const { original, tables } = scope;
  adapter.create = async (query) => {
    const row = await original.create(query);
    scope.wrote();
    const added = { ...query.data, ...row };
    if (modelOf(query, tables) === "member") await scope.tell([member("added", added)]);
    return row;
  };
  adapter.transaction = (run) =>
    inTransaction(scope, (inner) =>
      run(inner.original === original ? adapter : watch({ ...inner.original }, inner)),
    );
  for (const method of writes.filter((method) => adapter[method]))
    adapter[method] = async (query) => {
      const result = await write(scope, method, query);
      scope.wrote();
      return result;
    };
  return adapter;
}

/** Writes to members are told, and those to users and organizations that take members along. */
async function write(scope: Scope, method: Write, query: Query): Promise<Result> {
  const { original, tables, deletions } = scope;
  const model = modelOf(query, tables);
  if (model && removals.some((removal) => removal === method)) {
    const told: Told = new Map();
    deletions.add(told);
    const run = model === "member" ? deleteMembers : deleteOwners;
    const deletion: Promise<Result> = run({ ...scope, told }, method, query, owners[model]);
    const result = await deletion.finally(() => deletions.delete(told));
    return method === "delete" ? undefined : result;
  }
  const changes = model === "member" && Object.keys(changesOf(query)).length > 0;
  if (!changes) return original[method](query);
  const updated = await updateMembers(scope, method, query);
  return method === "updateMany" ? updated.length : (updated[0] ?? null);
}

/** Updates members if they still are as they were read; else reads them anew, and tries again. */
async function updateMembers(scope: Scope, method: Write, query: Query, attempts = 5) {
  const rows = await readFirst(scope, query, method === "incrementOne" ? 1 : undefined);
  return atomically(scope, rows.slice(1), async (inner) => {
    const updated: Row[] = [];
    const last = attempts === 1;
    for (const row of last ? await hold(inner, query, rows) : rows) {
      const asRead: Field[] = last ? [] : ["organizationId", "userId", "role"];
      const is = await updateOne(inner, method, among(query, [row], ...asRead), row);
      if (is) updated.push(is);
      else if (!last)
        updated.push(...(await updateMembers(inner, method, among(query, [row]), attempts - 1)));
    }
    return updated;
  });
}

/** Updates a member, and tells of it. */
async function updateOne(scope: Scope, method: Write, query: Query, row: Row) {
  const single = method === "updateMany" ? "update" : method;
  const write = scope.original[single](query).then((is) => ({
    is: is as Row | null,
    telling: is && scope.tell(differences(row, { ...row, ...changesOf(query) })),
  }));
  const onItsWay = { id: `${row.id}`, write };
  scope.writing.add(onItsWay);
  const { is, telling } = await write.finally(() => scope.writing.delete(onItsWay));
  await telling;
  return is;
}

/** Deletes members, and tells of each. */
async function deleteMembers(scope: Scope, method: Write, query: Query) {
  const exact = scope.original.consumeOne !== undefined; // Since Better Auth 1.6.
  const one = method === "consumeOne";
  const rows = exact && (one || idOf(query)) ? undefined : await readFirst(scope, query);
  if (!rows || (exact && rows.length === 1)) {
    // One query, exact without a lock: the row comes back as it was when it was deleted.
    const removed = await scope.original.consumeOne(rows ? among(query, rows) : query);
    const row = removed as Row | null;
    if (row && !isEnd(scope.told?.get(`${row.id}`))) await scope.tell([member("removed", row)]);
    return one ? row : row ? 1 : 0;
  }
  return atomically(scope, rows, async (inner) => {
    let count = 0;
    for (const some of slices(inner, await hold(inner, query, rows))) {
      const deleted = Number(await inner.original.deleteMany(among(query, some)));
      const removed =
        deleted === some.length ? some : await gone(inner, of("member", "id", some), some);
      await written(inner, removed);
      await inner.tell(current(inner, removed, "id").map((row) => member("removed", row)));
      count += deleted;
    }
    return count;
  });
}

/** Deletes users or organizations, and tells of the memberships that the database takes along. */
async function deleteOwners(scope: Scope, method: Write, query: Query, owner: Owner) {
  const one = method === "consumeOne";
  const id = idOf(query);
  const rows = id ? [{ id } as Row] : await readFirst(scope, query, one ? 1 : undefined);
  const known: Row[] = [];
  for (const some of scope.tables["member"] ? slices(scope, rows) : [])
    known.push(...(await read(scope, of("member", owner, some))));
  return atomically(scope, known.length > 0 ? known : rows.slice(1), async (inner) => {
    const results: Result[] = [];
    // One at a time, if there is a transaction: the count says then whose deletion it was.
    for (const some of slices(inner, rows, 1)) {
      const ids = new Set(some.map(({ id }) => id));
      const theirs = known.filter((row) => ids.has(row[owner]));
      const ofThese = of("member", owner, some);
      const held = await hold(inner, ofThese, theirs);
      const result = await inner.original[one ? method : "deleteMany"](among(query, some));
      if (!result) continue;
      results.push(result);
      // Whether memberships go along is up to the database.
      const removed = await gone(inner, ofThese, held);
      const users = owner === "userId" ? some : [];
      const all = one || result === some.length;
      const deleted = all ? users : await gone(inner, of(query.model, "id", some), users);
      await written(inner, removed);
      await inner.tell([
        ...current(inner, removed, owner).map((row) => member("removed", row)),
        ...current(inner, deleted, "id").map(userDeleted),
      ]);
    }
    const count = results.reduce<number>((sum, result) => sum + Number(result), 0);
    return one ? (results[0] ?? null) : count;
  });
}

/** Without a lock, a write that is on its way may have come before the deletion. */
async function written({ locks, writing }: Scope, rows: Row[]): Promise<void> {
  const ids = new Set(locks ? [] : rows.map(({ id }) => `${id}`));
  await Promise.allSettled([...writing].filter(({ id }) => ids.has(id)).map(({ write }) => write));
}

/**
 * Those that this deletion ended, as they were then. Without a lock, a row may have changed since it
 * was read, or moved to another owner, or somebody else has told of its end.
 */
function current({ locks, told }: Scope, rows: Row[], owner: Owner): Row[] {
  if (locks) return rows;
  return rows.flatMap((row) => {
    const change = told?.get(`${row.id}`);
    const now = { ...row, ...change?.payload };
    return isEnd(change) || `${now[owner]}` !== `${row[owner]}` ? [] : [now];
  });
}

/**
 * Locks members until the end of the transaction, by writing to them the role that they have, and
 * returns those that match the query by then. Without transactions there is nothing to lock.
 */
async function hold(scope: Scope, query: Query, rows: Row[]): Promise<Row[]> {
  if (!scope.locks || rows.length === 0) return rows;
  for (let held = rows, attempt = 1; ; attempt++) {
    let count = 0;
    for (const role of new Set(held.map((row) => row.role))) {
      const alike = held.filter((row) => row.role === role);
      for (const some of slices(scope, alike)) {
        // By their ids alone: in MySQL, who locks the entries of several indexes deadlocks.
        const same = among({ model: "member", where: [], update: { role } }, some, "role");
        count += Number(await scope.original.updateMany(same));
      }
    }
    const ids = new Set(held.map(({ id }) => id));
    held = await read(scope, query);
    const locked = held.filter(({ id }) => ids.has(id));
    // Else somebody has joined or changed in between, whom nothing keeps from leaving.
    const all = locked.length === held.length && locked.length === count;
    if (all || attempt === 3) return locked;
  }
}

/** Returns those rows that are not found any more. */
async function gone(scope: Scope, query: Query, rows: Row[]): Promise<Row[]> {
  if (rows.length === 0) return [];
  const found = read(scope, query);
  // What is deleted is told of, even if this fails; in a transaction nothing is deleted then.
  const left = await (scope.locks ? found : found.catch(() => []));
  const ids = new Set(left.map(({ id }) => `${id}`));
  return rows.filter(({ id }) => !ids.has(`${id}`));
}

/** Runs in the transaction that there is, or in one of its own if there is something to hold. */
function atomically<Answer>(scope: Scope, rows: Row[], run: (inner: Scope) => Promise<Answer>) {
  // The transactions of the memory adapter keep nobody apart.
  const plain = scope.locks || rows.length === 0 || scope.own.id === "memory";
  return plain ? run(scope) : inTransaction(scope, run);
}

/**
 * Tells what changed once it is committed. What the database gives up for another is tried anew, if
 * nobody has written in it but this plugin.
 */
async function inTransaction<Answer>(
  scope: Scope,
  run: (inner: Scope) => Promise<Answer>,
  attempts = 5,
): Promise<Answer> {
  let kept: Change[] = [];
  const awaited: unknown[] = [];
  let tryAnew = false;
  try {
    const answer = await scope.original.transaction((inner) => {
      // Without transactions, what is done is told at once, and waited for together.
      if (inner === scope.own)
        return run({ ...scope, tell: (changes) => void awaited.push(scope.tell(changes)) });
      if (scope.told) scope.deletions.delete(scope.told); // What is locked nobody else ends.
      kept = []; // Some adapters run again what failed.
      const tell = (changes: Change[]) => void kept.push(...changes);
      const wrote = () => {
        tryAnew = false;
        scope.wrote();
      };
      // Not within another, which is given up with it.
      tryAnew = !scope.locks && attempts > 1;
      return run({ ...scope, original: inner, own: inner, locks: true, tell, wrote });
    });
    await Promise.all([scope.tell(kept), ...awaited]);
    return answer;
  } catch (error) {
    const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
    const lines = [error, code, cause, cause?.code].join("\n");
    if (!tryAnew || !givenUp.test(lines)) throw error;
    return inTransaction(scope, run, attempts - 1);
  }
}
const givenUp =
  /^(40P01|40001|P2034|ER_LOCK_DEADLOCK|ER_CHECKREAD|SQLITE_BUSY.*)$|database is locked|WriteConflict/m;

/** Reads what is to be changed, before anything else. */
async function readFirst(scope: Scope, query: Query, limit?: number): Promise<Row[]> {
  if (scope.locks) {
    // A write first, of nothing: a transaction of SQLite that reads first cannot write once others have.
    const text = query.model === "member" ? "role" : "name";
    const nothing = ["eq", "ne"].map((operator) => ({ field: text, operator, value: "" }));
    const where = [...query.where, ...nothing];
    await scope.original.updateMany({ model: query.model, where, update: { [text]: "" } });
  }
  return read(scope, query, limit);
}

const page = 2_000;
/** Reads all rows, in pages, so that others get their turn in between. */
async function read({ original }: Scope, { model, where }: Query, limit = page): Promise<Row[]> {
  const rows: Row[] = [];
  for (;;) {
    const last = rows.slice(-1).map(({ id }) => ({ field: "id", operator: "gt", value: id }));
    const sortBy = { field: "id", direction: "asc" } as const;
    const some = await original.findMany({ model, where: [...where, ...last], limit, sortBy });
    rows.push(...some);
    if (some.length < page) return rows;
  }
}

/** Cloudflare D1, which has no transactions, takes 100 values a query. */
function slices({ locks }: Scope, rows: Row[], most = 1_000): Row[][] {
  const size = locks ? most : 50;
  return rows.flatMap((_, from) => (from % size === 0 ? [rows.slice(from, from + size)] : []));
}

/** The members, users or organizations that have, in this field, the ids of these rows. */
function of(model: string, field: Field, rows: Row[]): Query {
  const ids = rows.map(({ id }) => id);
  const one = { field, value: ids[0] };
  return { model, where: [ids.length === 1 ? one : { field, operator: "in", value: ids }] };
}

/** The same query, of these rows only, if their fields still are as they were read. */
function among(query: Query, rows: Row[], ...asRead: Field[]): Query {
  const same = asRead.map((field) => ({ field, value: rows[0]![field] }));
  return { ...query, where: [...query.where, ...of(query.model, "id", rows).where, ...same] };
}

/** The id, if it is all that the query names. */
function idOf({ where: [first, ...others] }: Query): unknown {
  const byId = first?.field === "id" && (first.operator ?? "eq") === "eq" && others.length === 0;
  return byId ? first.value : undefined;
}

/** What the query changes of that which is told. */
function changesOf({ update, set }: Query): Partial<Row> {
  const fields = Object.entries({ ...update, ...set }).filter(
    ([field, value]) => /^(organizationId|userId|role)$/.test(field) && value !== undefined,
  );
  return Object.fromEntries(fields);
}

/** Plugins use the names of the models; an app might use those of its tables. */
function modelOf({ model }: { model: string }, tables: Scope["tables"]) {
  return (["member", "user", "organization"] as const).find((name) =>
    [name, tables[name]?.modelName].some((known) => model === known || model === `${known}s`),
  );
}

function differences(was: Row, is: Row): Change[] {
  const stayed =
    `${was.userId}` === `${is.userId}` && `${was.organizationId}` === `${is.organizationId}`;
  // The row goes on, in another place.
  if (!stayed) return [{ ...member("removed", was), id: "" }, member("added", is)];
  return was.role === is.role ? [] : [member("updated", is)];
}

function member(action: "added" | "removed" | "updated", row: Row): Change {
  const { id, organizationId, userId, role } = row;
  const payload = { organizationId: `${organizationId}`, userId: `${userId}`, role, action };
  // The name and the payload have the same action, which the compiler cannot follow.
  return { id: `${id}`, event: `organization.member.${action}`, payload } as Change;
}

function userDeleted({ id }: Row): Change {
  return { id: `${id}`, event: "user.deleted", payload: { userId: `${id}`, action: "deleted" } };
}

function isEnd(change: Change | undefined): boolean {
  return change?.event === "organization.member.removed" || change?.event === "user.deleted";
}
