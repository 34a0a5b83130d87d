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
      const underWay = new Set<Change[]>();
      const tell = (changes: Change[]) => {
        for (const others of underWay) correct(others, changes);
        return Promise.all(changes.map(({ event, payload }) => getBus(auth).emit(event, payload)));
      };
      const original = { ...own };
      watch(own, { original, own, locks: false, tables: auth.tables, underWay, tell });
    },
  };
}

type Row = { id: string; organizationId: string; userId: string; role: string };
type Where = { field: string; value: unknown; operator?: string; connector?: string }[];
type Query = { model: string; where: Where; update?: object; set?: object };
type Page = Query & { limit: number; sortBy?: { field: string; direction: "asc" } };
type Result = Row | number | null | void;
type Adapter = { id?: string } & { [method in Write]: (query: Query) => Promise<Result> } & {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Page): Promise<Row[]>;
  transaction<Answer>(run: (adapter: Adapter) => Promise<Answer>): Promise<Answer>;
};
const deletions = ["delete", "deleteMany", "consumeOne"] as const;
const writes = ["update", "updateMany", "incrementOne", ...deletions] as const;
type Write = (typeof writes)[number];
/** What is to be told, with the id of the row that it is about. */
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
    inTransaction(scope, 1, (inner) =>
      run(inner.original === original ? adapter : watch({ ...inner.original }, inner)),
    );
  for (const method of writes.filter((method) => adapter[method])) {
    const deletes = deletions.some((deletion) => deletion === method);
    adapter[method] = async (query) => {
      const model = modelOf(query, tables);
      if (deletes && model) return deleteRows(scope, method, query, ownerFields[model]);
      if (model !== "member" || Object.keys(changesOf(query)).length === 0)
        return original[method](query);
      return updateMembers(scope, method, query);
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
      if (row && operator === "ne") await scope.tell([told("updated", { ...row, role: role! })]);
      if (row) return answer([row]);
    }
    return answer([]);
  }
  const rows = await read(scope, query, method === "incrementOne" ? 1 : undefined);
  return atomically(scope, onlyRole ? rows.slice(1) : rows, async (inner) => {
    const updated: Row[] = [];
    const alone = onlyRole && rows.length === 1;
    for (const row of alone ? rows : await hold(inner, query.where, rows)) {
      const at = { ...query, where: [...query.where, ...like([row], "id")] };
      const write = onlyRole ? updateMembers(inner, single, at) : inner.original[single](at);
      const is = (await write) as Row | null;
      if (is) updated.push(is);
      // If nothing is locked, it may have got another role since it was read.
      if (is && !onlyRole)
        await inner.tell(differences({ ...row, role: role ? row.role : is.role }, is));
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
  const answer = (result: Result) => (method === "delete" ? undefined : result);
  const id = idOf(query);
  const members = owner === "id";
  const exact = members && scope.original.consumeOne !== undefined; // Since Better Auth 1.6.
  if (exact && (one || id)) {
    // One query, exact without a lock: the row comes back as it was when it was deleted.
    const row = (await scope.original.consumeOne(query)) as Row | null;
    if (row) await scope.tell([told("removed", row)]);
    return answer(one ? row : row ? 1 : 0);
  }
  const expected: Change[] = [];
  scope.underWay.add(expected);
  try {
    const rows = id && !members ? [{ id } as Row] : await read(scope, query, one ? 1 : undefined);
    if (exact && rows.length === 1) {
      const where = [...query.where, ...like(rows, "id")];
      return await deleteRows(scope, method, { ...query, where }, owner);
    }
    const users = owner === "userId" ? rows.map(toldDeleted) : [];
    expected.push(...users);
    const memberships = members ? rows : await membershipsOf(scope, rows, owner);
    expected.unshift(...memberships.map((row) => told("removed", row)));
    const concerned = memberships.length > 0 ? memberships : rows.slice(1);
    const results = await atomically(scope, concerned, async (inner) => {
      const results: Result[] = [];
      const held = await hold(inner, members ? query.where : [], memberships);
      if (inner.locks)
        expected.splice(0, Infinity, ...held.map((row) => told("removed", row)), ...users);
      for (const some of slices(members ? held : rows, !inner.locks ? 50 : members ? 500 : 1)) {
        const at = { ...query, where: [...query.where, ...like(some, "id")] };
        const result = await inner.original[one ? method : "deleteMany"](at);
        if (!result) continue;
        results.push(result);
        const ids = new Set(some.map(({ id }) => `${id}`));
        for (const row of held) if (ids.has(`${row[owner]}`)) ids.add(`${row.id}`);
        const theirs = () => expected.filter(({ id }) => ids.has(id));
        const all = one || result === some.length;
        // Whether memberships go along is up to the database.
        const left =
          members && (all || inner.locks) ? [] : await readAgain(inner, "member", theirs());
        const usersLeft = all ? [] : await readAgain(inner, query.model, theirs());
        const gone = ({ event, id }: Change) =>
          !(event === "user.deleted" ? usersLeft : left).includes(id);
        await inner.tell(theirs().filter(gone));
      }
      return results;
    });
    return answer(
      one ? (results[0] ?? null) : results.reduce<number>((sum, count) => sum + Number(count), 0),
    );
  } finally {
    scope.underWay.delete(expected);
  }
}

async function membershipsOf(scope: Scope, owners: Row[], owner: Owner): Promise<Row[]> {
  const memberships: Row[] = [];
  for (const some of scope.tables["member"] ? slices(owners, 50) : []) {
    const where = like(some, "id").map((condition) => ({ ...condition, field: owner }));
    memberships.push(...(await read(scope, { model: "member", where })));
  }
  return memberships;
}

/**
 * Locks members until the end of the transaction, by writing to them what they have, and returns those
 * that are still there, as they are now. Without transactions there is nothing to lock.
 */
async function hold({ original, locks }: Scope, where: Where, rows: Row[]): Promise<Row[]> {
  if (!locks) return rows;
  const held: Row[] = [];
  for (const some of alike(rows, 500)) {
    const asRead = [...where, ...like(some, "id", "organizationId", "userId", "role")];
    const query = { model: "member", where: asRead, update: { role: some[0]!.role } };
    const all = some.length > 1 && (await original.updateMany(query)) === some.length;
    if (all) held.push(...some);
    // One of them has changed since it was read. Each comes back with the role that it has now.
    for (const row of all ? [] : some) {
      const same = [...where, ...like([row], "id", "organizationId", "userId")];
      const update = { userId: row.userId };
      const is = await original.update({ model: "member", where: same, update });
      if (is) held.push(is as Row);
    }
  }
  return held;
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

/** Runs in the transaction that there is, or in one of its own if there is something to hold. */
const atomically = <Answer>(scope: Scope, rows: Row[], run: (inner: Scope) => Promise<Answer>) =>
  scope.locks || rows.length === 0 ? run(scope) : inTransaction(scope, 5, run);

/** Tells what changed once it is committed. What a database gives up for another may be tried anew. */
async function inTransaction<Answer>(
  scope: Scope,
  attempts: number,
  run: (inner: Scope) => Promise<Answer>,
): Promise<Answer> {
  const kept: Change[] = [];
  const awaited: unknown[] = [];
  let locks = false;
  let answer: Answer;
  scope.underWay.add(kept);
  try {
    // Those of the memory adapter keep nobody apart.
    const plain = attempts > 1 && scope.own.id === "memory";
    const begin = plain
      ? (run: (own: Adapter) => Promise<Answer>) => run(scope.own)
      : scope.original.transaction<Answer>;
    answer = await begin((inner) => {
      // Without transactions, what is done is told at once, and waited for together.
      if (inner === scope.own)
        return run({ ...scope, tell: (changes) => void awaited.push(scope.tell(changes)) });
      locks = true;
      kept.length = 0; // Some adapters run again what failed.
      const tell = (changes: Change[]) => kept.push(...changes);
      return run({ ...scope, original: inner, own: inner, locks, tell });
    });
  } catch (error) {
    const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
    const text = `${error} ${code} ${cause} ${cause?.code}`;
    if (!locks || attempts === 1 || !givenUp.test(text)) throw error;
    return await inTransaction(scope, attempts - 1, run);
  } finally {
    scope.underWay.delete(kept);
  }
  await Promise.all([scope.tell(kept), ...awaited]);
  return answer;
}
const givenUp = /deadlock|40P01|40001|serializ|P2034|ER_CHECKREAD|SQLITE_BUSY|is locked/i;

/** Reads all rows, in pages, so that others get their turn in between. */
async function read(
  { original, locks }: Scope,
  { model, where }: Query,
  limit = 2_000,
): Promise<Row[]> {
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

/** Returns the ids of those rows that are still there. */
async function readAgain({ original, locks }: Scope, model: string, changes: Change[]) {
  const left: string[] = [];
  for (const some of slices(changes, locks ? 500 : 50)) {
    const found = original.findMany({ model, where: like(some, "id"), limit: some.length });
    // What is deleted is told of, even if this fails; in a transaction nothing is deleted then.
    const rows = await (locks ? found : found.catch(() => []));
    left.push(...rows.map(({ id }) => `${id}`));
  }
  return left;
}

const slices = <Item>(items: Item[], size: number) =>
  items.flatMap((_, from) => (from % size === 0 ? [items.slice(from, from + size)] : []));
/** The rows of each role, in an order that all share, so that nobody waits for each other. */
const alike = (rows: Row[], size: number) =>
  [...new Set(rows.map(({ role }) => role))].sort().flatMap((role) =>
    slices(
      rows.filter((row) => row.role === role),
      size,
    ),
  );
const ownerFields = { member: "id", user: "userId", organization: "organizationId" } as const;
type Owner = (typeof ownerFields)[keyof typeof ownerFields];

/** Conditions that rows with these values meet. */
function like<Field extends string>(
  rows: { [field in Field]: unknown }[],
  ...fields: Field[]
): Where {
  return fields.map((field) => {
    const values = [...new Set(rows.map((row) => row[field]))];
    return values.length === 1
      ? { field, value: values[0] }
      : { field, operator: "in", value: values };
  });
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
  if (!stayed) return [told("removed", was), told("added", is)];
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
