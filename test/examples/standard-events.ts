// @kernia/events 1.0.0: copied from its test/examples/standard-events.ts
// Needs Better Auth 1.3.34 or newer with Kysely, and 1.7 with Drizzle or Prisma.

import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";

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
      const bus = getBus(auth);
      /** For each operation under way, what was emitted last about each row since it began. */
      const operations = new Set<Map<string, Change>>();

      // One type for the adapters of all versions.
      watch(auth.adapter as unknown as Adapter, auth.tables, async (run) => {
        const emitted = new Map<string, Change>();
        operations.add(emitted);
        try {
          const changes: Change[] = [];
          const result = await run(changes);
          for (const change of changes) {
            const last = emitted.get(change.row);
            // Of two requests that make the same change at the same time, both see a difference.
            if (last?.state === change.state) continue;
            // Not without limit: where a handler hangs, its operation never ends.
            for (const each of operations) if (each.size < 50_000) each.set(change.row, change);
            // The role may have been set after it was read.
            const role = last?.event === "organization.member.updated" && last.payload.role;
            const isRemoval = change.event === "organization.member.removed";
            const payload = isRemoval && role ? { ...change.payload, role } : change.payload;
            await bus.emit(change.event, payload);
          }
          return result;
        } finally {
          operations.delete(emitted);
        }
      });
    },
  };
}

type Row = { id: string; organizationId: string; userId: string; role: string | null };
type Condition = { field: string; value: unknown; operator?: string };
type Query = { model: string; where: Condition[]; update?: Partial<Row>; set?: Partial<Row> };
type Write = (query: Query) => Promise<unknown>;
interface Adapter extends Record<(typeof updates | typeof deletions)[number], Write> {
  create(query: { model: string; data: object }): Promise<Row>;
  findMany(query: Query & { limit: number }): Promise<Row[]>;
  transaction<Result>(run: (inner: Adapter) => Promise<Result>): Promise<Result>;
}
const updates = ["update", "updateMany", "incrementOne"] as const;
const deletions = ["delete", "deleteMany", "consumeOne"] as const;
const models = ["member", "user", "organization"] as const;
type Model = (typeof models)[number];
type Tables = AuthContext["tables"];
/** An event, the row that it is about, and the state of that row by now. */
type Change = {
  [Name in keyof Events]: { event: Name; payload: EventPayload<Name>; row: string; state: string };
}[keyof Events];
/** Runs an operation, which adds its changes to a list, and emits them once they are committed. */
type Emitting = <Result>(run: (changes: Change[]) => Promise<Result>) => Promise<Result>;

/** Replaces the methods of an adapter, or of its transaction, by methods that emit what they change. */
function watch(adapter: Adapter, tables: Tables, emitting: Emitting, unwatched = adapter): Adapter {
  const original = { ...adapter };
  const read = ({ model, where }: Query) => original.findMany({ model, where, limit: 1_000_000 });

  adapter.create = (query) =>
    emitting(async (changes) => {
      const row = await original.create(query);
      if (modelOf(query) === "member") changes.push(member("added", { ...query.data, ...row }));
      return row;
    });
  for (const method of updates.filter((method) => original[method])) {
    adapter[method] = (query) => {
      const update = { ...query.update, ...query.set };
      const isObserved = "role" in update || "userId" in update || "organizationId" in update;
      if (modelOf(query) !== "member" || !isObserved) return original[method](query);
      return emitting(observe(query, "member", original[method], update));
    };
  }
  for (const method of deletions.filter((method) => original[method])) {
    adapter[method] = (query) => {
      const model = modelOf(query);
      return model ? emitting(observe(query, model, original[method])) : original[method](query);
    };
  }
  adapter.transaction = (run) =>
    emitting(async (changes) => {
      let committed: Change[] = [];
      const result = await original.transaction((inner) => {
        if (inner === unwatched) return run(adapter); // The database has none, or this is one.
        const own: Change[] = (committed = []); // Some adapters run a failed transaction again.
        return run(watch({ ...inner }, tables, (operation) => operation(own), inner));
      });
      for (const change of committed) changes.push(change);
      return result;
    });
  return adapter;

  /** Runs a statement, and adds what it changed; without `update` it is a deletion. */
  function observe(query: Query, model: Model, write: Write, update?: Partial<Row>) {
    return async (changes: Change[]): Promise<unknown> => {
      const rows = await read(query);
      const before = model === "member" ? rows : await readBy("member", `${model}Id`, rows);
      const result = await write(query);
      const updated = update ? before.map((was) => ({ ...was, ...update })) : [];
      const after = await reread("member", before, updated);
      // A statement of one row, whatever its role, has set that role; others may have set another since.
      const isSet = rows.length === 1 && query.where.every(({ field }) => field !== "role");
      for (const was of before) {
        const is = after.get(was.id);
        if (update && is) changes.push(...differences(was, is, isSet ? update.role : undefined));
        if (!update && !is) changes.push(member("removed", was));
      }
      if (model !== "user") return result;
      const left = await reread("user", rows, []);
      for (const { id } of rows) if (!left.has(id)) changes.push(userDeleted(`${id}`));
      return result;
    };
  }

  /** Returns the rows by their ids. */
  async function reread(model: Model, rows: Row[], expected: Row[]): Promise<Map<string, Row>> {
    const found = readBy(model, "id", rows);
    // The statement has run, so a read that fails must not fail it; in a transaction both fail.
    const current = await (adapter === unwatched ? found.catch(() => expected) : found);
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

function differences(was: Row, is: Row, role = is.role): Change[] {
  if (was.userId !== is.userId || was.organizationId !== is.organizationId) {
    return [{ ...member("removed", was), state: "moved" }, member("added", is)];
  }
  if (role === was.role) return [];
  const update = member("updated", { ...is, role });
  // The request that set it back may have read it before, and then emits nothing.
  return is.role === was.role ? [update, member("updated", is)] : [update];
}

function member(action: "added" | "removed" | "updated", row: Row): Change {
  const { id, organizationId, userId, role: known } = row;
  const role = known ?? "";
  const payload = { organizationId: `${organizationId}`, userId: `${userId}`, role, action };
  const state = action === "updated" ? `updated ${role}` : action;
  // The name and the payload have the same action, which the compiler cannot follow.
  return { event: `organization.member.${action}`, payload, row: `member ${id}`, state } as Change;
}

function userDeleted(userId: string): Change {
  const payload = { userId, action: "deleted" } as const;
  return { event: "user.deleted", payload, row: `user ${userId}`, state: "deleted" };
}
