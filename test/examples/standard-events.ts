// @kernia/events 1.0.0: copied from its test/examples/standard-events.ts
// Needs Better Auth 1.3.34 or newer with Kysely, and 1.7 with Drizzle or Prisma.

import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin, Where } from "better-auth";

/**
 * Emits the four standard events, whichever route, plugin or server-side call makes the change: all of
 * them write through Better Auth's database adapter, and this plugin wraps its methods. It reads the rows
 * that a statement is about, runs the statement as it is, reads them again, and emits the difference.
 *
 * Each committed change is emitted once by the server that made it, after the commit, in order: of one
 * commit, each event is awaited before the next. It takes no lock, retries nothing and writes nothing.
 *
 * Not covered:
 * - raw SQL, and servers without this plugin;
 * - what another request changes at the same moment: a member who joins while the user or organization is
 *   deleted, the second of two changes of a role; two servers that delete the same row may both emit it;
 * - SQLite that a second process writes to: there, a transaction that reads first may fail as busy.
 */
export function standardEvents(): { id: "standard-events"; init: BetterAuthPlugin["init"] & {} } {
  return {
    id: "standard-events",
    init(auth) {
      const listed = auth.options.plugins?.filter(({ id }) => id === "standard-events") ?? [];
      if (listed.length > 1) throw new Error("standardEvents() is in the list of plugins twice");
      const { id, options } = auth.adapter;
      // Few drivers of SQLite have transactions, and which one this is cannot be seen.
      const isSqlite = (options?.["provider"] ?? options?.["type"]) === "sqlite";
      if (/drizzle|kysely|prisma/.test(id) && !options?.adapterConfig?.transaction && !isSqlite) {
        auth.logger.warn(
          "The database adapter uses no transactions: what a failed request has changed remains, and is " +
            "emitted. Pass the adapter `transaction: true`, if its driver supports transactions.",
        );
      }
      const bus = getBus(auth);
      /** For each operation that is running, the last change of each row since it began. */
      const running = new Set<Map<string, Change>>();

      // One type for the adapters of all versions.
      wrap(auth.adapter as unknown as Adapter, auth.tables, async (operation) => {
        const changed = new Map<string, Change>();
        const changes: Change[] = [];
        const events: Change[] = [];
        let result;
        running.add(changed);
        try {
          result = await operation(changes);
          for (const change of changes) {
            const last = changed.get(change.row);
            // Of two requests that make the same change at the same time, both see a difference.
            if (last?.state === change.state) continue;
            for (const each of running) each.set(change.row, change);
            // The role may have been set after it was read.
            const role = last?.event === "organization.member.updated" && last.payload.role;
            const isRemoval = change.event === "organization.member.removed";
            if (isRemoval && role) change.payload = { ...change.payload, role };
            events.push(change);
          }
        } finally {
          running.delete(changed);
        }
        for (const { event, payload } of events) await bus.emit(event, payload);
        return result;
      });
    },
  };
}

type Row = { id: string; organizationId: string; userId: string; role: string | null };
type Query = { model: string; where: Where[]; update?: Partial<Row>; set?: Partial<Row> };
type Write = (query: Query) => Promise<unknown>;
interface Adapter extends Record<(typeof updates | typeof deletions)[number], Write> {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Query & { limit: number }): Promise<Row[]>;
  transaction<Result>(run: (inner: Adapter) => Promise<Result>): Promise<Result>;
}
const updates = ["update", "updateMany", "incrementOne"] as const;
const deletions = ["delete", "deleteMany", "consumeOne"] as const;
const fields = ["role", "userId", "organizationId"] as const;
const models = ["member", "user", "organization"] as const;
type Model = (typeof models)[number];
/** An event, the row that it is about, and the state of that row by now. */
type Change = {
  [Name in keyof Events]: { event: Name; payload: EventPayload<Name>; row: string; state: string };
}[keyof Events];
/** Runs an operation, which adds its changes to a list, and emits them once they are committed. */
type Run = <Result>(operation: (changes: Change[]) => Promise<Result>) => Promise<Result>;

/** Replaces the methods of an adapter, or of its transaction, by methods that emit what they change. */
function wrap(adapter: Adapter, tables: AuthContext["tables"], run: Run, unwrapped = adapter) {
  const original = { ...adapter };
  const read = ({ model, where }: Query) => original.findMany({ model, where, limit: 1_000_000 });

  adapter.create = (query) =>
    run(async (changes) => {
      const row = await original.create(query);
      if (modelOf(query) === "member") changes.push(member("added", { ...query.data, ...row }));
      return row;
    });
  for (const method of [...updates, ...deletions].filter((method) => original[method])) {
    adapter[method] = (query) => {
      const model = modelOf(query);
      const update = updates.some((name) => name === method) && { ...query.update, ...query.set };
      const isSilent = update && (model !== "member" || !fields.some((field) => field in update));
      if (!model || isSilent) return original[method](query);
      return observe(original[method], query, model, update);
    };
  }
  adapter.transaction = (work) =>
    run(async (changes) => {
      let committed: Change[] = [];
      const result = await original.transaction((inner) => {
        if (inner === unwrapped) return work(adapter); // The database has none, or this is one.
        const uncommitted: Change[] = (committed = []); // Some adapters run a failed one again.
        return work(wrap({ ...inner }, tables, (operation) => operation(uncommitted), inner));
      });
      for (const change of committed) changes.push(change);
      return result;
    });
  return adapter;

  /** Runs a statement, an update or else a deletion, and finds what it changed. */
  function observe(write: Write, query: Query, model: Model, update: Partial<Row> | false) {
    return run(async (changes) => {
      const rows = await read(query);
      const before = model === "member" ? rows : await readBy("member", `${model}Id`, rows);
      const result = await write(query);
      const updated = update ? before.map((row) => ({ ...row, ...update })) : [];
      const after = await reread("member", before, updated);
      // A statement of one row, whatever its role, has set that role; others may have set another since.
      const isSet = rows.length === 1 && query.where.every(({ field }) => field !== "role");
      for (const row of before) {
        const now = after.get(row.id);
        if (update && now) changes.push(...differences(row, now, isSet ? update.role : undefined));
        if (!update && !now) changes.push(member("removed", row));
      }
      if (model !== "user") return result;
      const left = await reread("user", rows, []);
      for (const { id } of rows.filter((row) => !left.has(row.id))) {
        const payload = { userId: `${id}`, action: "deleted" } as const;
        changes.push({ event: "user.deleted", payload, row: `user ${id}`, state: "deleted" });
      }
      return result;
    });
  }

  /** Returns the rows by their ids. */
  async function reread(model: Model, rows: Row[], expected: Row[]): Promise<Map<string, Row>> {
    const found = readBy(model, "id", rows);
    // The statement has run, so a read that fails must not fail it; in a transaction both fail.
    const current = await (adapter === unwrapped ? found.catch(() => expected) : found);
    return new Map(current.map((row) => [row.id, row]));
  }

  /** Reads those with the ids of the rows in a field, 90 at a time: Cloudflare D1 takes 100 values. */
  async function readBy(model: Model, field: string, rows: Row[]): Promise<Row[]> {
    const found: Row[] = [];
    if (!tables[model]) return found;
    for (let from = 0; from < rows.length; from += 90) {
      const value = rows.slice(from, from + 90).map(({ id }) => id);
      found.push(...(await read({ model, where: [{ field, operator: "in", value }] })));
    }
    return found;
  }

  /** Plugins use the names of the models; an app might use those of its tables. */
  function modelOf({ model }: { model: string }): Model | undefined {
    return models.find((name) =>
      [name, tables[name]?.modelName].some((known) => model === known || model === `${known}s`),
    );
  }
}

function differences(before: Row, after: Row, role = after.role): Change[] {
  if (before.userId !== after.userId || before.organizationId !== after.organizationId) {
    return [{ ...member("removed", before), state: "moved" }, member("added", after)];
  }
  if (role === before.role) return [];
  const update = member("updated", { ...after, role });
  // The request that set it back may have read it before, and then emits nothing.
  return after.role === before.role ? [update, member("updated", after)] : [update];
}

function member(action: "added" | "removed" | "updated", row: Row): Change {
  const { id, organizationId, userId, role: known } = row;
  const role = known ?? "";
  const payload = { organizationId: `${organizationId}`, userId: `${userId}`, role, action };
  const state = action === "updated" ? `updated ${role}` : action;
  // The name and the payload have the same action, which the compiler cannot follow.
  return { event: `organization.member.${action}`, payload, row: `member ${id}`, state } as Change;
}
