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

type Owner = "user" | "organization";
type Row = { id: string; organizationId: string; userId: string; role: string };
type Where = { field: string; value: unknown; operator?: string; connector?: string }[];
type Query = { model: string; where: Where; update?: Partial<Row>; set?: Partial<Row> };
type Page = Query & { limit: number; sortBy: { field: string; direction: "asc" } };
type Result = Row | number | null | void;
type Adapter = { [method in Write]: (query: Query) => Promise<Result> } & {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Page): Promise<Row[]>;
  transaction<Answer>(run: (adapter: Adapter) => Promise<Answer>): Promise<Answer>;
};
type Coded = { code?: unknown } | undefined;
const deletions = ["delete", "deleteMany", "consumeOne"] as const;
const writes = ["update", "updateMany", "incrementOne", ...deletions] as const;
type Write = (typeof writes)[number];

/** What is to be told, with the id of the row that it is about. */
type Change = {
  [Name in keyof Events]: { id: string; event: Name; payload: EventPayload<Name> };
}[keyof Events];

interface Scope {
  /** The methods of the adapter, or of the one of a transaction, before they were wrapped. */
  original: Adapter;
  /** What it hands out where it has no transactions: itself. */
  own: Adapter;
  /** Whether it is that of a transaction, so that what was written stays locked. */
  locks: boolean;
  tables: { [model: string]: { modelName: string } };
  /** What is told once a transaction is committed, or a deletion is done. */
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
      if (model === "member" && (deletes || Object.keys(changesOf(query)).length > 0))
        return writeMembers(scope, method, query, deletes);
      if (deletes && (model === "user" || model === "organization"))
        return deleteOwners(scope, method, query, model);
      return original[method](query);
    };
  }
  return adapter;
}

/** Updates or deletes members. */
async function writeMembers(
  scope: Scope,
  method: Write,
  query: Query,
  deletes: boolean,
): Promise<Result> {
  const { original, tell } = scope;
  const { role, ...moves } = changesOf(query);
  // Better Auth has it since 1.6, and since then the numbers of rows that were written are right.
  const counts = original.consumeOne !== undefined;
  const byId = counts && idOf(query) !== undefined;
  if (method === "consumeOne" || (method === "delete" && byId)) {
    // Exact without a read or a lock: the row comes back as it was when it was deleted.
    const row = (await original.consumeOne(query)) as Row | null;
    if (row) await tell([told("removed", row)]);
    if (row || method === "consumeOne") return method === "delete" ? undefined : row;
  } else if (!deletes && method !== "updateMany" && byId && Object.keys(moves).length === 0) {
    // Exact likewise: what it was does not matter, as long as it was another.
    for (const operator of ["ne", "eq"]) {
      const where = [...query.where, { field: "role", operator, value: role }];
      const row = (await original[method]({ ...query, where })) as Row | null;
      if (row && operator === "ne") await tell([told("updated", row)]);
      if (row) return row;
    }
  }

  const rows = await read(scope, query, method === "incrementOne" ? 1 : undefined);
  const many = deletes || method === "updateMany";
  const single = deletes ? "consumeOne" : many ? "update" : method;
  const written =
    !many || (rows.length < 2 && (counts || !deletes))
      ? await writeEach(scope, single, query, rows)
      : await atomically(scope, (inner) =>
          inner.locks
            ? writeHeld(inner, query, rows, deletes)
            : deletes && (rows.length > 50 || !counts)
              ? deleteUnlocked(inner, query, rows)
              : writeEach(inner, single, query, rows),
        );
  return method === "delete" ? undefined : many ? written.length : (written[0] ?? null);
}

/** Writes one row after the other, each as it was read; anew, if somebody changed it meanwhile. */
async function writeEach(scope: Scope, method: Write, query: Query, rows: Row[]): Promise<Row[]> {
  const deletes = method === "consumeOne";
  const written: Row[] = [];
  for (const row of rows) {
    let was: Row | undefined = row;
    for (let attempt = 1; was && attempt <= 5; attempt++) {
      // A snapshot may never show what the row has become: then the last attempt names only the row.
      const fields = deletes || attempt === 5 ? idOnly : allFields;
      const where = [...query.where, ...like([was], fields)];
      const is = (await scope.original[method]({ ...query, where })) as Row | null;
      if (is) {
        written.push(is);
        await scope.tell(deletes ? [told("removed", is)] : differences(was, is));
        break;
      }
      [was] = await read(scope, { ...query, where: [...query.where, ...like([was], idOnly)] });
    }
  }
  return written;
}

/** Writes all rows at once, in a transaction. */
async function writeHeld(scope: Scope, query: Query, rows: Row[], deletes: boolean) {
  const held = await hold(scope, query.where, rows);
  for (const some of slices(held, 500)) {
    const where = [...query.where, ...like(some, idOnly)];
    await scope.original[deletes ? "deleteMany" : "updateMany"]({ ...query, where });
  }
  const changes = changesOf(query);
  scope.tell(
    held.flatMap((row) =>
      deletes ? told("removed", row) : differences(row, { ...row, ...changes }),
    ),
  );
  return held;
}

/**
 * Locks rows until the end of the transaction, by writing to them what they have, and returns those that
 * are still there, as they are now.
 */
async function hold({ original }: Scope, where: Where, rows: Row[]): Promise<Row[]> {
  const held: Row[] = [];
  for (const some of alike(rows, 500)) {
    const { role } = some[0]!;
    const query = {
      model: "member",
      where: [...where, ...like(some, allFields)],
      update: { role },
    };
    if (original.consumeOne && (await original.updateMany(query)) === some.length)
      held.push(...some);
    // Somebody changed one of them since it was read, whatever its role is now.
    else
      for (const row of some) {
        const { userId } = row;
        const same = [...where, ...like([row], ["id", "organizationId", "userId"])];
        const is = await original.update({ model: "member", where: same, update: { userId } });
        if (is) held.push(is as Row);
      }
  }
  return held;
}

/** Deletes many members where there are no transactions, fifty at a time. */
async function deleteUnlocked(scope: Scope, query: Query, rows: Row[], attempt = 1) {
  const deleted: Row[] = [];
  for (const some of alike(rows, 50)) {
    let stayed: Row[] = [];
    const removals = some.map((row) => told("removed", row));
    const gone = await tellGone(scope, removals, async () => {
      const where = [...query.where, ...like(some, allFields)];
      const count = await scope.original.deleteMany({ ...query, where });
      if (count !== some.length) stayed = await readAgain(scope, some);
      return ({ id }) => stayed.some((row) => id === `${row.id}`);
    });
    deleted.push(...some.filter((row) => gone.some(({ id }) => id === `${row.id}`)));
    if (stayed.length > 0 && attempt < 5)
      deleted.push(...(await deleteUnlocked(scope, query, stayed, attempt + 1)));
  }
  return deleted;
}

/** Deletes users or organizations, and tells of the memberships that the database takes along. */
async function deleteOwners(scope: Scope, method: Write, query: Query, model: Owner) {
  const one = method === "consumeOne";
  const field = `${model}Id` as const;
  const id = idOf(query);
  const owners = id === undefined ? await read(scope, query, one ? 1 : undefined) : [{ id }];
  const memberships: Row[] = [];
  for (const some of scope.tables["member"] ? slices(owners, 50) : []) {
    const where = [{ field, operator: "in", value: some.map(({ id }) => id) }];
    memberships.push(...(await read(scope, { model: "member", where })));
  }

  let answer: Result;
  const run = async (inner: Scope) => {
    answer = one ? null : 0;
    const held = inner.locks ? await hold(inner, [], memberships) : memberships;
    for (const some of slices(owners, inner.locks ? 1 : 50)) {
      const theirs = held.filter((row) => some.some(({ id }) => `${id}` === `${row[field]}`));
      const changes = theirs.map((row) => told("removed", row));
      if (model === "user") changes.push(...some.map(toldDeleted));
      await tellGone(inner, changes, async () => {
        const where = [...query.where, ...like(some, idOnly)];
        const result = await inner.original[one ? method : "deleteMany"]({ ...query, where });
        if (!result) return () => true;
        answer = typeof result === "number" ? (answer as number) + result : result;
        // Whether memberships go with their user or organization is up to the database.
        const stayed = theirs.length > 0 ? await readAgain(inner, theirs) : [];
        const all = one || result === some.length;
        const left = all ? [] : await read(inner, { model, where: like(some, idOnly) });
        return ({ event, id }) =>
          (event === "user.deleted" ? left : stayed).some((row) => id === `${row.id}`);
      });
    }
  };
  await (memberships.length === 0 && owners.length < 2 ? run(scope) : atomically(scope, run));
  return method === "delete" ? undefined : answer;
}

/** Tells of what is gone after `run`, which says what stayed, unless it was told of meanwhile. */
async function tellGone(
  scope: Scope,
  changes: Change[],
  run: () => Promise<(change: Change) => boolean>,
): Promise<Change[]> {
  let gone: Change[] = [];
  scope.underWay.add(changes);
  try {
    const stayed = await run();
    gone = changes.filter((change) => !stayed(change));
  } finally {
    scope.underWay.delete(changes);
  }
  await scope.tell(gone);
  return gone;
}

/** Removes from what is under way what was told meanwhile: it can happen only once. */
function correct(underWay: Change[], told: Change[]): void {
  for (const { id, event, payload } of told) {
    const index = underWay.findIndex((change) => change.id === id && ending.includes(change.event));
    const change = underWay[index];
    if (change?.event === event) underWay.splice(index, 1);
    else if (
      change?.event === "organization.member.removed" &&
      event === "organization.member.updated"
    )
      change.payload = { ...change.payload, role: payload.role };
  }
}

/** Runs in the transaction that there is, or in one of its own; anew, if that lost a deadlock. */
async function atomically<Answer>(scope: Scope, run: (inner: Scope) => Promise<Answer>) {
  if (scope.locks) return run(scope);
  for (let attempt = 1; ; attempt++) {
    let locks = false;
    try {
      return await inTransaction(scope, (inner) => ((locks = inner.locks), run(inner)));
    } catch (error) {
      const { cause } = error as Error;
      const text = [error, cause].map((each) => `${(each as Coded)?.code} ${each}`).join();
      if (!locks || attempt === 5 || !transient.test(text)) throw error;
    }
  }
}

async function inTransaction<Answer>(scope: Scope, run: (inner: Scope) => Promise<Answer>) {
  const { original, own, underWay } = scope;
  const kept: Change[] = [];
  underWay.add(kept);
  let answer: Answer;
  try {
    answer = await original.transaction((inner) => {
      if (inner === own) return run(scope);
      kept.length = 0; // Some adapters run again what failed.
      const tell = (changes: Change[]) => kept.push(...changes);
      return run({ ...scope, original: inner, own: inner, locks: true, tell });
    });
  } finally {
    underWay.delete(kept);
  }
  await scope.tell(kept);
  return answer;
}

/** Reads the rows, a page at a time, for the sake of whoever else waits for this process. */
async function read({ original, locks }: Scope, { model, where }: Query, limit = Infinity) {
  const [first] = where;
  if (locks && typeof first?.value === "string") {
    // A transaction of SQLite that begins with a read fails when others have written since.
    const nothing = ["lt", "gt"].map((operator) => ({ ...first, operator }));
    const update = model === "member" ? { role: "" } : { name: "" };
    await original.updateMany({ model, where: nothing, update });
  }
  const rows: Row[] = [];
  for (;;) {
    const last = rows.at(-1);
    const rest = last ? [{ field: "id", operator: "gt", value: last.id }] : [];
    const page = { model, where: [...where, ...rest], limit: Math.min(limit, pageSize) };
    const more = await original.findMany({ ...page, sortBy: { field: "id", direction: "asc" } });
    rows.push(...more);
    if (more.length < pageSize) return rows;
  }
}

/** Returns those of the members that are still members of the same organization. */
async function readAgain(scope: Scope, rows: Row[]): Promise<Row[]> {
  const stayed: Row[] = [];
  for (const some of slices(rows, scope.locks ? 500 : 50)) {
    const query = { model: "member", where: like(some, idOnly) };
    // What was deleted is told of, whatever happens to this query; in a transaction it matters.
    const found = read(scope, query);
    stayed.push(...(await (scope.locks ? found : found.catch(() => []))));
  }
  return stayed;
}

/** How databases and their drivers name a deadlock, a failed serialization, and a busy database. */
const transient = /deadlock|40P01|40001|serializ|P2034|ER_CHECKREAD|SQLITE_BUSY|is locked/i;
const ending: string[] = ["organization.member.removed", "user.deleted"];
const pageSize = 2_000;
const allFields = ["id", "organizationId", "userId", "role"] as const;
const idOnly = ["id"] as const;

/** A `where` that matches rows by these fields. */
function like<Field extends string>(
  rows: Record<Field, unknown>[],
  fields: readonly Field[],
): Where {
  return fields.map((field) => {
    const [value, ...others] = new Set(rows.map((row) => row[field]));
    return others.length > 0
      ? { field, operator: "in", value: [value, ...others] }
      : { field, value };
  });
}

function slices<Item>(items: Item[], size: number): Item[][] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, index) => items.slice(index * size, ++index * size));
}

/** The rows by their roles, so many at a time. */
function alike(rows: Row[], size: number): Row[][] {
  const roles = [...new Set(rows.map(({ role }) => role))].sort();
  return roles.flatMap((role) =>
    slices(
      rows.filter((row) => row.role === role),
      size,
    ),
  );
}

/** The id that the query names, if there is one. */
function idOf({ where }: Query): unknown {
  const id = where.find(({ field, operator = "eq" }) => field === "id" && operator === "eq");
  return where.some(({ connector }) => connector === "OR") ? undefined : id?.value;
}

/** What the query sets of that which is told. */
function changesOf({ update, set }: Query): Partial<Row> {
  const entries = Object.entries({ ...update, ...set });
  return Object.fromEntries(
    entries.filter(
      ([field, value]) =>
        value !== undefined && ["organizationId", "userId", "role"].includes(field),
    ),
  );
}

/** Plugins use the names of the models; an app might use those of its tables. */
function modelOf({ model }: { model: string }, tables: Scope["tables"]) {
  return (["member", "user", "organization"] as const).find((name) =>
    [name, tables[name]?.modelName].some((known) => model === known || model === `${known}s`),
  );
}

function differences(was: Row, is: Row): Change[] {
  const moved =
    `${was.userId}` !== `${is.userId}` || `${was.organizationId}` !== `${is.organizationId}`;
  if (moved) return [told("removed", was), told("added", is)];
  return was.role === is.role ? [] : [told("updated", is)];
}

function told(action: "added" | "removed" | "updated", row: Row): Change {
  const { id, organizationId, userId, role } = row;
  const payload = { organizationId: `${organizationId}`, userId: `${userId}`, role, action };
  // The name and the payload have the same action, which the compiler cannot follow.
  return { id: `${id}`, event: `organization.member.${action}`, payload } as Change;
}

function toldDeleted({ id }: { id: unknown }): Change {
  const payload = { userId: `${id}`, action: "deleted" } as const;
  return { id: `${id}`, event: "user.deleted", payload };
}
