// Needs Better Auth 1.3 to 1.7.

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
      const own = auth.adapter as unknown as Adapter;
      const underWay = new Set<Told>();
      const tell = (changes: Change[]) => {
        for (const told of underWay) for (const change of changes) told.set(change.id, change);
        return Promise.all(changes.map(({ event, payload }) => getBus(auth).emit(event, payload)));
      };
      watch(own, {
        original: { ...own },
        own,
        locks: false,
        ours: false,
        told: new Map(),
        tables: auth.tables,
        underWay,
        tell,
      });
    },
  };
}

type Row = { id: string; organizationId: string; userId: string; role: string };
type Where = { field: string; value: unknown; operator?: string; connector?: string }[];
type Query = { model: string; where: Where; update?: object; set?: object };
type Page = Query & { limit: number; sortBy: { field: string; direction: "asc" } };
type Result = Row | number | null | void;
type Adapter = { id?: string } & { [method in Write]: (query: Query) => Promise<Result> } & {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Page): Promise<Row[]>;
  transaction<Answer>(run: (adapter: Adapter) => Promise<Answer>): Promise<Answer>;
};
const deletions = ["delete", "deleteMany", "consumeOne"] as const;
const writes = ["update", "updateMany", "incrementOne", ...deletions] as const;
type Write = (typeof writes)[number];
const owners = { member: "id", user: "userId", organization: "organizationId" } as const;
type Owner = (typeof owners)[keyof typeof owners];
/** What is to be told, with the id of the row that it is about. */
type Change = {
  [Name in keyof Events]: { id: string; event: Name; payload: EventPayload<Name> };
}[keyof Events];
/** What was told last of each row since a deletion began. */
type Told = Map<string, Change>;
interface Scope {
  /** The methods of the adapter, or of a transaction's, before they were wrapped. */
  original: Adapter;
  /** What an adapter without transactions hands out in place of one: itself. */
  own: Adapter;
  /** Whether this is a transaction, so that what was written stays locked. */
  locks: boolean;
  /** Whether it is one of this plugin's own, which begins with a write. */
  ours: boolean;
  tables: { [model: string]: { modelName: string } };
  underWay: Set<Told>;
  told: Told;
  /** At once; in a transaction, when it is committed. */
  tell(changes: Change[]): unknown;
}

/** Gives the adapter methods that tell what they change. */
function watch(adapter: Adapter, scope: Scope): Adapter {
  const { original, tables, underWay } = scope;
  adapter.create = async (query) => {
    const row = await original.create(query);
    const added = { ...query.data, ...row };
    if (modelOf(query, tables) === "member") await scope.tell([member("added", added)]);
    return row;
  };
  adapter.transaction = (run) =>
    inTransaction(scope, 1, (inner) =>
      run(inner.original === original ? adapter : watch({ ...inner.original }, inner)),
    );
  for (const method of writes.filter((method) => adapter[method])) {
    const deletes = deletions.some((deletion) => deletion === method);
    adapter[method] = async (query) => {
      const model = modelOf(query, tables);
      if (deletes && model) {
        const told: Told = new Map();
        underWay.add(told);
        const answer = deleteRows({ ...scope, told }, method, query, owners[model]);
        const result = await answer.finally(() => underWay.delete(told));
        return method === "delete" ? undefined : result;
      }
      const changes = model === "member" && Object.keys(changesOf(query)).length > 0;
      return changes ? updateMembers(scope, method, query) : original[method](query);
    };
  }
  return adapter;
}

async function updateMembers(scope: Scope, method: Write, query: Query): Promise<Result> {
  const { role, ...moves } = changesOf(query);
  const onlyRole = Object.keys(moves).length === 0;
  const single = method === "updateMany" ? "update" : method;
  const answer = (rows: Row[]) => (method === "updateMany" ? rows.length : (rows[0] ?? null));
  if (onlyRole && idOf(query)) {
    // One query, if it was another role: it does not matter which. It may change in between.
    for (const operator of ["ne", "eq", "ne", "eq"]) {
      const at = { ...query, where: [...query.where, { field: "role", operator, value: role }] };
      const row = (await scope.original[single](at)) as Row | null;
      if (row && operator === "ne") await scope.tell([member("updated", { ...row, role: role! })]);
      if (row) return answer([row]);
    }
    return answer([]);
  }
  const rows = await read(scope, query, method === "incrementOne" ? 1 : undefined);
  if (onlyRole && rows.length === 1) return updateMembers(scope, method, among(query, rows));
  return atomically(scope, rows, async (inner) => {
    const updated: Row[] = [];
    for (const some of inner.locks ? slices(inner, await hold(inner, query, rows)) : []) {
      const result = await inner.original[method](among(query, some));
      const now = some.map((row) => ({ ...row, ...changesOf(query) }));
      updated.push(...(method === "updateMany" ? now : [result as Row]));
      await inner.tell(some.flatMap((row, index) => differences(row, now[index]!)));
    }
    for (const row of inner.locks ? [] : rows) {
      const asRead = among(query, [row], "organizationId", "userId", "role");
      const again = onlyRole || !idOf(query);
      let is = again ? null : ((await inner.original[single](asRead)) as Row | null);
      if (is) await inner.tell(differences(row, is));
      else is = (await updateMembers(inner, single, among(query, [row]))) as Row | null;
      if (is) updated.push(is);
    }
    return answer(updated);
  });
}

/** Deletes members; or users or organizations, and the memberships that the database takes along. */
async function deleteRows(
  scope: Scope,
  method: Write,
  query: Query,
  owner: Owner,
): Promise<Result> {
  const one = method === "consumeOne";
  const id = idOf(query);
  const members = owner === "id";
  const exact = members && scope.original.consumeOne !== undefined; // Since Better Auth 1.6.
  if (exact && (one || id)) {
    // One query, exact without a lock: the row comes back as it was when it was deleted.
    const row = (await scope.original.consumeOne(query)) as Row | null;
    if (row && current(scope, [row]).length > 0) await scope.tell([member("removed", row)]);
    return one ? row : row ? 1 : 0;
  }
  const rows = id && !members ? [{ id } as Row] : await read(scope, query, one ? 1 : undefined);
  if (exact && rows.length === 1) return deleteRows(scope, method, among(query, rows), owner);
  const hasMembers = members || scope.tables["member"];
  const memberships = members ? rows : hasMembers ? await find(scope, ofMembers, rows, owner) : [];
  const concerned = memberships.length > 0 ? memberships : rows.slice(1);
  return atomically(scope, concerned, async (inner) => {
    const held = await hold(inner, members ? query : ofMembers, memberships, owner);
    const results: Result[] = [];
    // One at a time, if there is a transaction: the count says then who of two deleted it.
    for (const some of members ? slices(inner, held) : slices(inner, rows, 1)) {
      const result = await inner.original[one ? method : "deleteMany"](among(query, some));
      if (!result) continue;
      results.push(result);
      const all = one || result === some.length;
      const ids = new Set(some.map(({ id }) => `${id}`));
      const theirs = held.filter((row) => ids.has(`${row[owner]}`));
      // Whether memberships go along is up to the database.
      const removed = members && all ? theirs : await gone(inner, "member", theirs);
      const users = owner !== "userId" ? [] : all ? some : await gone(inner, "user", some);
      await inner.tell([
        ...current(inner, removed).map((row) => member("removed", row)),
        ...current(inner, users).map(deleted),
      ]);
    }
    const count = results.reduce<number>((sum, result) => sum + Number(result), 0);
    return one ? (results[0] ?? null) : count;
  });
}

/** Whoever tells of an end first tells of it. Without a lock, a row may have changed since it was read. */
function current({ locks, told }: Scope, rows: Row[]): Row[] {
  return rows.flatMap((row) => {
    const { event, payload } = told.get(`${row.id}`) ?? {};
    if (event === "organization.member.removed" || event === "user.deleted") return [];
    return [locks ? row : { ...row, ...payload }];
  });
}

/**
 * Locks members until the end of the transaction, by writing to them what they have, and returns those
 * that still match, as they are then. Without transactions there is nothing to lock.
 */
async function hold(scope: Scope, query: Query, rows: Row[], owner: Owner = "id"): Promise<Row[]> {
  if (!scope.locks) return rows;
  const field = owner === "id" ? "organizationId" : owner;
  for (const value of new Set(rows.map((row) => row[field]))) {
    const theirs = rows.filter((row) => row[field] === value);
    for (const some of slices(scope, theirs)) {
      const update = { [field]: value };
      await scope.original.updateMany({ ...among(ofMembers, some, field), update });
    }
  }
  // Only now: a transaction may see for good what there was when it first read.
  return find(scope, query, rows);
}

/** Runs in the transaction that there is, or in one of its own if there is something to hold. */
function atomically<Answer>(scope: Scope, rows: Row[], run: (inner: Scope) => Promise<Answer>) {
  // The transactions of the memory adapter keep nobody apart.
  const plain = scope.locks || rows.length === 0 || scope.own.id === "memory";
  return plain ? run(scope) : inTransaction(scope, 5, run);
}

/** Tells what changed once it is committed. What a database gives up for another may be tried anew. */
async function inTransaction<Answer>(
  scope: Scope,
  attempts: number,
  run: (inner: Scope) => Promise<Answer>,
): Promise<Answer> {
  let kept: Change[] = [];
  const awaited: unknown[] = [];
  let locks = false;
  try {
    const answer = await scope.original.transaction((inner) => {
      // Without transactions, what is done is told at once, and waited for together.
      if (inner === scope.own)
        return run({ ...scope, tell: (changes) => void awaited.push(scope.tell(changes)) });
      locks = true;
      kept = []; // Some adapters run again what failed.
      const tell = (changes: Change[]) => void kept.push(...changes);
      return run({ ...scope, original: inner, own: inner, locks, ours: attempts > 1, tell });
    });
    await Promise.all([scope.tell(kept), ...awaited]);
    return answer;
  } catch (error) {
    const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
    const text = `${error} ${code} ${cause} ${cause?.code}`;
    if (!locks || attempts === 1 || !givenUp.test(text)) throw error;
    return inTransaction(scope, attempts - 1, run);
  }
}
const givenUp = /deadlock|40P01|40001|serializ|P2034|ER_CHECKREAD|SQLITE_BUSY|is locked/i;

/** Reads all rows, in pages, so that others get their turn in between. */
async function read(scope: Scope, { model, where }: Query, limit = 2_000): Promise<Row[]> {
  const { original, locks, ours } = scope;
  if (locks && !ours) {
    // A write first, of nothing: in SQLite, a transaction that reads first cannot write once others
    // have written; in MySQL it waits here for who changes these rows, before it has a snapshot.
    const text = model === "member" ? "role" : "name";
    const nothing = { field: text, value: "" };
    await original.updateMany({ model, where: [...where, nothing], update: { [text]: "" } });
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

/** Finds those that match, and whose field has the id of one of the rows. */
async function find(scope: Scope, query: Query, rows: Row[], field: Field = "id"): Promise<Row[]> {
  const found: Row[] = [];
  for (const some of slices(scope, rows)) {
    const ids = isOneOf(field, some, "id");
    found.push(...(await read(scope, { ...query, where: [...query.where, ids] })));
  }
  return found;
}

/** Returns those rows that are not there any more. */
async function gone(scope: Scope, model: string, rows: Row[]): Promise<Row[]> {
  const found = find(scope, { model, where: [] }, rows);
  // What is deleted is told of, even if this fails; in a transaction nothing is deleted then.
  const left = await (scope.locks ? found : found.catch(() => []));
  const ids = new Set(left.map(({ id }) => `${id}`));
  return rows.filter(({ id }) => !ids.has(`${id}`));
}

/** Cloudflare D1, which has no transactions, takes 100 values a query. */
function slices({ locks }: Scope, rows: Row[], most = 500): Row[][] {
  const size = locks ? most : 50;
  return rows.flatMap((_, from) => (from % size === 0 ? [rows.slice(from, from + size)] : []));
}

/** The same query, of these rows only. */
function among(query: Query, rows: Row[], ...fields: Field[]): Query {
  const conditions = (["id", ...fields] as const).map((field) => isOneOf(field, rows));
  return { ...query, where: [...query.where, ...conditions] };
}
const ofMembers: Query = { model: "member", where: [] };

type Field = keyof Row;
function isOneOf(field: Field, rows: Row[], of = field): Where[number] {
  const values = [...new Set(rows.map((row) => row[of]))];
  if (values.length === 1) return { field, value: values[0] };
  return { field, operator: "in", value: values };
}

/** The id that the query names, if it does. Beside alternatives, only the last condition counts. */
function idOf({ where }: Query): unknown {
  const alternatives = where.some(({ connector }) => connector === "OR");
  return (alternatives ? where.slice(-1) : where).find(
    ({ field, operator = "eq", connector = "AND" }) =>
      field === "id" && operator === "eq" && connector === "AND",
  )?.value;
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
  if (!stayed) return [member("removed", was), member("added", is)];
  return was.role === is.role ? [] : [member("updated", is)];
}

function member(action: "added" | "removed" | "updated", row: Row): Change {
  const { id, organizationId, userId, role } = row;
  const payload = { organizationId: `${organizationId}`, userId: `${userId}`, role, action };
  // The name and the payload have the same action, which the compiler cannot follow.
  return { id: `${id}`, event: `organization.member.${action}`, payload } as Change;
}

function deleted({ id }: Row): Change {
  return { id: `${id}`, event: "user.deleted", payload: { userId: `${id}`, action: "deleted" } };
}
