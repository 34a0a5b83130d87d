import { getCurrentAdapter, runWithTransaction } from "@better-auth/core/context";
import { EventBus, getBus } from "@kernia/events";
import { betterAuth, type BetterAuthPlugin } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import type pg from "pg";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createDatabase, createPool, startPostgres } from "../../fixtures/postgres";
import { emitAfterCommit, inTransaction } from "./after-commit";
import { CollectedFailures } from "./failures";

const defer = deferToEnd();

let pool: pg.Pool;

beforeAll(async () => {
  const databaseUrl = await createDatabase(await startPostgres(defer), defer);
  pool = createPool(databaseUrl, { max: 2 });
  defer(() => pool.end());
});

const logger = new CollectedFailures();
let seen: unknown[];

beforeEach(() => {
  logger.failures.length = 0;
  seen = [];
});

async function countNotes(): Promise<number> {
  const { rows } = await pool.query("select count(*)::int from note");
  return rows[0].count;
}

describe("in a transaction of Better Auth's", () => {
  /** Has a table, and a handler whose statement fails. */
  const notes = {
    id: "notes",
    schema: { note: { fields: { text: { type: "string", required: true } } } },
    init(auth) {
      getBus(auth).on("notes.added", async () => {
        const adapter = await getCurrentAdapter(auth.adapter);
        await adapter.create({ model: "note", data: { text: null } });
      });
      getBus(auth).on("notes.added", async () => seen.push(await countNotes()));
    },
  } satisfies BetterAuthPlugin;

  async function start() {
    const { $context, options } = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: pool,
      telemetry: { enabled: false },
      logger: { log: (_, message, event, error) => logger.error(message, event, error) },
      plugins: [notes],
    });
    await (await getMigrations(options)).runMigrations();
    return $context;
  }

  let auth: Awaited<ReturnType<typeof start>>;

  beforeAll(async () => {
    auth = await start();
  });

  beforeEach(async () => {
    await pool.query("delete from note");
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

  test("the trap: a handler's failed statement aborts the transaction", async () => {
    const added = addNotes(() => getBus(auth).emit("notes.added", {}));

    await expect(added).rejects.toMatchObject({ code: "25P02" });
    expect(await countNotes()).toBe(0);
  });

  test("after the commit, it fails by itself, and other handlers see what was committed", async () => {
    await addNotes(() => emitAfterCommit(auth, "notes.added", {}));

    expect(logger.failures).toMatchObject([{ event: "notes.added", error: { code: "23502" } }]);
    expect(seen).toEqual([2]);
  });

  test("nothing is emitted after a rollback", async () => {
    const emit = () => emitAfterCommit(auth, "notes.added", {});

    await expect(addNotes(emit, new Error("rolled back"))).rejects.toThrow("rolled back");
    expect(seen).toEqual([]);
  });

  test("without a transaction it is emitted immediately", async () => {
    await emitAfterCommit(auth, "notes.added", {});

    expect(seen).toEqual([0]);
  });
});

describe("in a transaction of one's own", () => {
  let bus: EventBus;

  beforeEach(async () => {
    bus = new EventBus(logger);
    await pool.query("drop table if exists plan; create table plan (name text)");
    await pool.query("insert into plan values ('free')");
    bus.on("plan.changed", () => pool.query("update plan set name = name || ', emitted'"));
  });

  async function plan(): Promise<string> {
    return (await pool.query("select name from plan")).rows[0].name;
  }

  test("after the commit, it finds the row unlocked, and the connection back in the pool", async () => {
    const other = await pool.connect();
    const result = await inTransaction(pool, bus, async (client, emitLater) => {
      await client.query("update plan set name = 'team'");
      await emitLater("plan.changed", {});
      return "done";
    });
    other.release();

    expect(result).toBe("done");
    expect(await plan()).toBe("team, emitted");
  });

  test("nothing is emitted after a rollback, or when the commit fails", async () => {
    await pool.query(`create table parent (id int primary key);
      create table child (parent int references parent deferrable initially deferred)`);
    const change = (statement: string) =>
      inTransaction(pool, bus, async (client, emitLater) => {
        await emitLater("plan.changed", {});
        await client.query(statement);
      });

    await expect(change("select 1 / 0")).rejects.toMatchObject({ code: "22012" });
    await expect(change("insert into child values (1)")).rejects.toMatchObject({ code: "23503" });
    expect(await plan()).toBe("free");
  });
});
