import { getCurrentAdapter, runWithTransaction } from "@better-auth/core/context";
import { EventBus, getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import type pg from "pg";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { createAuth, migrate } from "../../fixtures/auth-server";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createDatabase, createPool, startPostgres } from "../../fixtures/postgres";
import { emitAfterCommit, inTransaction } from "./after-commit";

const defer = deferToEnd();

let databaseUrl: string;
let pool: pg.Pool;
let auth: Awaited<ReturnType<typeof createAuth>["auth"]["$context"]>;
/** The texts that the handler saw, each time. */
let seen: string[];

/** Has a table, and a handler that reads it on another connection. */
const notes = {
  id: "notes",
  schema: { note: { fields: { text: { type: "string", required: true } } } },
  init(context) {
    getBus(context).on("notes.added", async () => seen.push(await readNotes()));
  },
} satisfies BetterAuthPlugin;

async function readNotes(): Promise<string> {
  const { rows } = await pool.query("select text from note order by text");
  return rows.map(({ text }) => text).join();
}

beforeAll(async () => {
  databaseUrl = await createDatabase(await startPostgres(defer), defer);
  pool = createPool(databaseUrl, { max: 1 });
  defer(() => pool.end());
  const server = createAuth({ databaseUrl, plugins: [notes] });
  defer(server.close);
  await migrate(server.auth.options);
  auth = await server.auth.$context;
});

beforeEach(async () => {
  await pool.query("delete from note");
  seen = [];
});

/** Adds two notes, emits in between, and may fail at the end. */
function addNotes(emit: () => Promise<void>, failure?: Error) {
  return runWithTransaction(auth.adapter, async () => {
    const adapter = await getCurrentAdapter(auth.adapter);
    await adapter.create({ model: "note", data: { text: "one" } });
    await emit();
    await adapter.create({ model: "note", data: { text: "two" } });
    if (failure) throw failure;
  });
}

test("with runWithTransaction, it is emitted after the commit, so that a handler sees what was committed", async () => {
  await addNotes(() => emitAfterCommit(auth, "notes.added", {}));

  expect(seen).toEqual(["one,two"]);
});

test("with runWithTransaction, nothing is emitted after a rollback", async () => {
  const emit = () => emitAfterCommit(auth, "notes.added", {});

  await expect(addNotes(emit, new Error("rolled back"))).rejects.toThrow("rolled back");
  expect(seen).toEqual([]);
});

const insert = "insert into note values ('1', 'one')";

test("with inTransaction, it is emitted after the commit, with the connection back in the pool", async () => {
  const result = await inTransaction(pool, getBus(auth), async (client, emitLater) => {
    await emitLater("notes.added", {});
    await client.query(insert);
    return "done";
  });

  expect(result).toBe("done");
  expect(seen).toEqual(["one"]);
});

test("what emitLater is given is emitted in that order, one after another", async () => {
  const bus = new EventBus();
  bus.on("slow", () => new Promise(setImmediate).then(() => seen.push("slow")));
  bus.on("fast", () => seen.push("fast"));
  await inTransaction(pool, bus, async (_, emitLater) => {
    await emitLater("slow", {});
    await emitLater("fast", {});
  });

  expect(seen).toEqual(["slow", "fast"]);
});

const late = `alter table note add constraint late unique (text) deferrable initially deferred`;

test.each([
  ["the commit fails", "duplicate key", [late, insert, insert.replace("'1'", "'2'")]],
  ["a failed statement turns the commit into a rollback", "Rolled back", [insert, "select 1 / 0"]],
  ["a statement takes too long, and so the rollback", "timeout", [insert, "select pg_sleep(5)"]],
])("where %s, nothing is emitted, and the pool goes on without it", async (_, error, queries) => {
  const small = createPool(databaseUrl, { max: 1, query_timeout: 500 });
  defer(() => small.end());
  const changed = inTransaction(small, getBus(auth), async (client, emitLater) => {
    await emitLater("notes.added", {});
    for (const query of queries) await client.query(query).catch(() => {});
  });
  await expect(changed).rejects.toThrow(error);
  await small.query("insert into note values ('3', 'three')");

  expect(await readNotes()).toBe("three");
  expect(seen).toEqual([]);
});
