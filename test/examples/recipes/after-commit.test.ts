import { getCurrentAdapter, runWithTransaction } from "@better-auth/core/context";
import { EventBus, getBus } from "@kernia/events";
import { betterAuth, type BetterAuthPlugin } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import type pg from "pg";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createDatabase, createPool, startPostgres } from "../../fixtures/postgres";
import { CollectingLogger } from "../../unit/collecting-logger";
import { emitAfterCommit, inTransaction } from "./after-commit";

const defer = deferToEnd();

let databaseUrl: string;
let pool: pg.Pool;

beforeAll(async () => {
  databaseUrl = await createDatabase(await startPostgres(defer), defer);
  pool = createPool(databaseUrl, { max: 2 });
  defer(() => pool.end());
});

async function count(table: string): Promise<number> {
  const { rows } = await pool.query(`select count(*)::int from ${table}`);
  return rows[0].count;
}

describe("in a transaction of Better Auth's", () => {
  const logged: unknown[] = [];
  let auth: Awaited<ReturnType<typeof startAuth>>;

  beforeAll(async () => {
    auth = await startAuth();
  });

  async function startAuth() {
    const { $context, options } = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: pool,
      telemetry: { enabled: false },
      logger: { log: (level, message, event, error) => logged.push([message, event, error]) },
      plugins: [notes],
    });
    await (await getMigrations(options)).runMigrations();
    return $context;
  }

  beforeEach(async () => {
    await pool.query("delete from note; delete from topic");
    await pool.query("insert into topic (id, name) values ('1', 'taken')");
    logged.length = 0;
  });

  /** Adds two notes in one transaction, and emits as `emit` does in between. */
  function addNotes(emit: typeof emitAfterCommit) {
    return runWithTransaction(auth.adapter, async () => {
      const adapter = await getCurrentAdapter(auth.adapter);
      await adapter.create({ model: "note", data: { text: "one" } });
      await emit(auth, "notes.added", { topic: "taken" });
      await adapter.create({ model: "note", data: { text: "two" } });
    });
  }

  test("the trap: the failed insert of a handler takes along what the emitter did", async () => {
    const added = addNotes((auth, event, payload) => getBus(auth).emit(event, payload));

    await expect(added).rejects.toMatchObject({ code: "25P02" });
    expect(await count("note")).toBe(0);
    expect(logged).toMatchObject([["Event handler failed:", "notes.added", { code: "23505" }]]);
  });

  test("after the commit, it fails by itself, and the rows stay", async () => {
    await addNotes(emitAfterCommit);

    expect(await count("note")).toBe(2);
    expect(logged).toMatchObject([["Event handler failed:", "notes.added", { code: "23505" }]]);
  });

  test("a handler sees what was committed, and has run when the caller goes on", async () => {
    const seen: number[] = [];
    const unsubscribe = getBus(auth).on("notes.added", async () => seen.push(await count("note")));

    await addNotes(emitAfterCommit);
    unsubscribe();

    expect(seen).toEqual([2]);
  });

  test("nothing is emitted of what is rolled back", async () => {
    const seen: unknown[] = [];
    const unsubscribe = getBus(auth).on("notes.added", () => seen.push("emitted"));

    const failed = runWithTransaction(auth.adapter, async () => {
      await emitAfterCommit(auth, "notes.added", { topic: "free" });
      throw new Error("rolled back");
    });
    await expect(failed).rejects.toThrow("rolled back");
    unsubscribe();

    expect(seen).toEqual([]);
  });

  test("without a transaction it is emitted at once", async () => {
    const seen: unknown[] = [];
    const unsubscribe = getBus(auth).on("notes.added", () => seen.push("emitted"));

    await emitAfterCommit(auth, "notes.added", { topic: "free" });
    unsubscribe();

    expect(seen).toEqual(["emitted"]);
  });
});

describe("in a transaction of one's own", () => {
  let bus: EventBus;
  let logger: CollectingLogger;

  beforeEach(async () => {
    await pool.query("create table if not exists account_plan (id int primary key, plan text)");
    await pool.query("truncate account_plan");
    await pool.query("insert into account_plan values (1, 'free')");
    logger = new CollectingLogger();
    bus = new EventBus(logger);
    bus.on("billing.plan.changed", async function upgrade() {
      await pool.query("update account_plan set plan = plan || ', told' where id = 1");
    });
  });

  async function plan(): Promise<string> {
    const { rows } = await pool.query("select plan from account_plan");
    return rows[0].plan;
  }

  test("the trap: a handler waits for the emitter's lock, and the emitter for it", async () => {
    const observer = createPool(databaseUrl, { max: 1 });
    defer(() => observer.end());
    const client = await pool.connect();
    await client.query("begin");
    await client.query("update account_plan set plan = 'team' where id = 1");

    let settled = false;
    const emitted = bus.emit("billing.plan.changed", {}).then(() => (settled = true));
    const waiting = await untilOneWaitsForALock(observer);
    expect(settled).toBe(false);

    // Nothing else would have ended it, for the emitter has yet to commit.
    await observer.query("select pg_cancel_backend($1)", [waiting]);
    await emitted;
    await client.query("commit");
    client.release();
    expect(logger.logged).toMatchObject([["Event handler failed:", "billing.plan.changed", {}]]);
    expect(await plan()).toBe("team");
  });

  test("after the commit, it finds the row unlocked", async () => {
    const result = await inTransaction(pool, bus, async (client, emitLater) => {
      await client.query("update account_plan set plan = 'team' where id = 1");
      await emitLater("billing.plan.changed", {});
      return "done";
    });

    expect(result).toBe("done");
    expect(await plan()).toBe("team, told");
    expect(logger.logged).toEqual([]);
  });

  test("it has the connection back, where the pool has but one", async () => {
    const one = createPool(databaseUrl, { max: 1 });
    defer(() => one.end());
    bus.on("billing.plan.changed", async () => void (await one.query("select 1")));

    await inTransaction(one, bus, (_, emitLater) => emitLater("billing.plan.changed", {}));

    expect(logger.logged).toEqual([]);
  });

  test("nothing is emitted of what is rolled back, or whose commit fails", async () => {
    await pool.query("create table if not exists parent (id int primary key)");
    await pool.query(
      `create table if not exists child
       (parent int references parent deferrable initially deferred)`,
    );

    const rolledBack = inTransaction(pool, bus, async (_, emitLater) => {
      await emitLater("billing.plan.changed", {});
      throw new Error("rolled back");
    });
    await expect(rolledBack).rejects.toThrow("rolled back");
    const notCommitted = inTransaction(pool, bus, async (client, emitLater) => {
      await emitLater("billing.plan.changed", {});
      await client.query("insert into child values (1)");
    });
    await expect(notCommitted).rejects.toMatchObject({ code: "23503" });

    expect(await plan()).toBe("free");
  });
});

/** A plugin with a table, and another whose handler inserts what is there already. */
const notes = {
  id: "notes",
  schema: {
    note: { fields: { text: { type: "string", required: true } } },
    topic: { fields: { name: { type: "string", required: true, unique: true } } },
  },
  init(auth) {
    getBus(auth).on("notes.added", async ({ topic }: { topic: string }) => {
      const adapter = await getCurrentAdapter(auth.adapter);
      await adapter.create({ model: "topic", data: { name: topic } });
    });
  },
} satisfies BetterAuthPlugin;

/** Waits until PostgreSQL says that a connection waits for a lock, and returns its process id. */
async function untilOneWaitsForALock(observer: pg.Pool): Promise<number> {
  for (;;) {
    const { rows } = await observer.query(
      `select pid from pg_stat_activity
       where wait_event_type = 'Lock' and datname = current_database()`,
    );
    if (rows.length > 0) return rows[0].pid;
  }
}
