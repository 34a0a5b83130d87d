import { getCurrentAdapter, runWithTransaction } from "@better-auth/core/context";
import { getBus } from "@kernia/events";
import { betterAuth, type BetterAuthPlugin } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import type pg from "pg";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createDatabase, createPool, startPostgres } from "../../fixtures/postgres";
import { emitAfterCommit, inTransaction } from "./after-commit";

const defer = deferToEnd();

let pool: pg.Pool;
let auth: Awaited<ReturnType<typeof startAuth>>;
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
  const databaseUrl = await createDatabase(await startPostgres(defer), defer);
  pool = createPool(databaseUrl, { max: 2 });
  defer(() => pool.end());
  auth = await startAuth();
});

async function startAuth() {
  const { $context, options } = betterAuth({
    baseURL: "http://localhost",
    secret: "a secret for a test, and for nothing else",
    database: pool,
    telemetry: { enabled: false },
    plugins: [notes],
  });
  await (await getMigrations(options)).runMigrations();
  return $context;
}

beforeEach(async () => {
  await pool.query("delete from note");
  seen = [];
});

describe("in a transaction of Better Auth's", () => {
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

  test("it is emitted after the commit, so that a handler sees what was committed", async () => {
    await addNotes(() => emitAfterCommit(auth, "notes.added", {}));

    expect(seen).toEqual(["one,two"]);
  });

  test("nothing is emitted after a rollback", async () => {
    const emit = () => emitAfterCommit(auth, "notes.added", {});

    await expect(addNotes(emit, new Error("rolled back"))).rejects.toThrow("rolled back");
    expect(seen).toEqual([]);
  });
});

describe("in a transaction of one's own", () => {
  const insert = "insert into note values ('1', 'one')";

  test("it is emitted after the commit, with the connection back in the pool", async () => {
    const other = await pool.connect();
    const result = await inTransaction(pool, getBus(auth), async (client, emitLater) => {
      await emitLater("notes.added", {});
      await client.query(insert);
      return "done";
    });
    other.release();

    expect(result).toBe("done");
    expect(seen).toEqual(["one"]);
  });

  test("nothing is emitted when the commit fails", async () => {
    await pool.query(`
      alter table note drop constraint if exists late, add constraint late unique (text)
      deferrable initially deferred`);
    const changed = inTransaction(pool, getBus(auth), async (client, emitLater) => {
      await emitLater("notes.added", {});
      await client.query(insert);
      await client.query(insert.replace("'1'", "'2'"));
    });

    await expect(changed).rejects.toMatchObject({ code: "23505" });
    expect(await readNotes()).toBe("");
    expect(seen).toEqual([]);
  });
});
