import { EventEmitter, once } from "node:events";
import type pg from "pg";
import { beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { startChild } from "../../fixtures/child";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutboxDatabase, takeEvents } from "../../fixtures/outbox";
import { startEmbeddedPostgres } from "../../fixtures/postgres";
import { startRelay, type OutboxEvent, type RelayOptions } from "./worker";

const defer = deferToEnd();

let databaseUrl: string;
let pool: pg.Pool;

beforeAll(async () => {
  ({ databaseUrl, pool } = await createOutboxDatabase(defer));
  await pool.query("create table delivered (id bigint, number int)");
});

beforeEach(() => pool.query("delete from event_outbox; delete from delivered"));

const number = ({ payload }: OutboxEvent) => (payload as { number: number }).number;

async function add(count: number, db: pg.Pool | pg.PoolClient = pool): Promise<void> {
  await db.query(
    `insert into event_outbox (event, payload)
    select 'numbered', jsonb_build_object('number', n) from generate_series(1, $1::int) n`,
    [count],
  );
}

async function inTransaction(
  end: "commit" | "rollback",
  run: (client: pg.PoolClient) => Promise<unknown>,
): Promise<void> {
  const client = await pool.connect();
  let failed = true;
  try {
    await client.query("begin");
    await run(client);
    await client.query(end);
    failed = false;
  } finally {
    // A connection that is closed leaves no lock to the tests that follow.
    client.release(failed);
  }
}

async function waiting(db = pool): Promise<number> {
  const { rows } = await db.query("select count(*)::int as count from event_outbox");
  return rows[0].count;
}

/** A relay that is stopped at the end of the test, and what it told its logger. */
async function withRelay(
  options: Partial<RelayOptions> & Pick<RelayOptions, "forward">,
  run: (errors: unknown[][]) => Promise<void>,
): Promise<void> {
  const errors: unknown[][] = [];
  const logger = { error: (...error: unknown[]) => errors.push(error) };
  // An hour: what is waited for is not a poll, unless a test says so.
  const relay = startRelay({ databaseUrl, logger, pollingSeconds: 3_600, ...options });
  try {
    await run(errors);
  } finally {
    await relay.stop();
  }
}

/** Adds a row to `delivered` for each event, in the relay's transaction. */
const deliver: RelayOptions["forward"] = (events, client) =>
  client.query(
    `insert into delivered select id, number
    from json_to_recordset($1) as event (id bigint, number int)`,
    [JSON.stringify(events.map((event) => ({ id: event.id, number: number(event) })))],
  );

async function takeDelivered(): Promise<number[]> {
  const { rows } = await pool.query(
    "with d as (delete from delivered returning *) select * from d",
  );
  return rows.map(({ number }) => number);
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

describe("the relay", () => {
  test("forwards what is there, in order, so many at a time, and takes it out", async () => {
    const batches: number[][] = [];
    await add(250);

    await withRelay(
      { forward: async (events) => batches.push(events.map(number)), batchSize: 100 },
      () => vi.waitFor(async () => expect(await waiting()).toBe(0), 5_000),
    );

    expect(batches.map(({ length }) => length)).toEqual([100, 100, 50]);
    expect(batches.flat()).toEqual(upTo(250));
  });

  test("takes no more bytes at a time than it may, but for one event that has more", async () => {
    const sizes = [10, 3_000, 10, 10, 900, 900, 10];
    for (const [index, size] of sizes.entries()) {
      await pool.query(
        `insert into event_outbox (event, payload)
        select 'sized', jsonb_build_object('number', $1::int, 'text', repeat('x', $2::int))`,
        [index, size],
      );
    }
    const batches: number[][] = [];
    await withRelay(
      { forward: async (events) => batches.push(events.map(number)), batchBytes: 2_000 },
      () => vi.waitFor(async () => expect(await waiting()).toBe(0), 5_000),
    );
    expect(batches).toEqual([[0], [1], [2, 3], [4, 5, 6]]);
  });

  test("is not held up by many large events", async () => {
    await pool.query(`insert into event_outbox (event, payload)
      select 'large', jsonb_build_object('number', n, 'text', repeat('x', 6 * 1000 * 1000))
      from generate_series(1, 12) n`);
    await add(1);
    const most: number[] = [];
    await withRelay({ forward: async (events) => most.push(events.length) }, async (errors) => {
      await vi.waitFor(async () => expect(await waiting()).toBe(0), 30_000);
      expect(errors).toEqual([]);
    });
    expect(Math.max(...most)).toBeLessThan(3);
  });

  test("hands over an event as it was added", async () => {
    const payload = { text: "ü ☃ \u{1f600}", list: [1, null, { deep: true }], nothing: null };
    const values = ["a.b", JSON.stringify(payload)];
    await pool.query("insert into event_outbox (event, payload) values ($1, $2)", values);
    const seen: OutboxEvent[] = [];

    await withRelay({ forward: async (events) => seen.push(...events) }, () =>
      vi.waitFor(() => expect(seen).toHaveLength(1), 5_000),
    );

    expect(seen).toEqual([
      {
        id: expect.stringMatching(/^\d+$/),
        event: "a.b",
        payload,
        createdAt: expect.any(Date),
      },
    ]);
  });

  test("starts as soon as a transaction commits, and not before", async () => {
    const seen: number[][] = [];
    await withRelay({ forward: async (events) => seen.push(events.map(number)) }, async () => {
      await inTransaction("commit", async (client) => {
        await add(1, client);
        await add(2, client);
        await add(3);
        await vi.waitFor(() => expect(seen).toEqual([[1, 2, 3]]), 5_000);
      });
      await vi.waitFor(() => expect(seen[1]).toEqual([1, 1, 2]), 5_000);
    });
  });

  test("finds what no notification came for when it polls", async () => {
    await pool.query("alter table event_outbox disable trigger event_outbox_notify");
    const seen: number[] = [];
    await withRelay(
      { forward: async (events) => seen.push(events.length), pollingSeconds: 0.1 },
      async () => {
        // It may find the first when it starts, but not the second.
        await add(1);
        await vi.waitFor(() => expect(seen).toEqual([1]), 5_000);
        await add(2);
        await vi.waitFor(() => expect(seen).toEqual([1, 2]), 5_000);
      },
    );
    await pool.query("alter table event_outbox enable trigger event_outbox_notify");
  });

  test("hears nothing of what was rolled back", async () => {
    const seen: number[] = [];
    await withRelay({ forward: async (events) => seen.push(...events.map(number)) }, async () => {
      await inTransaction("rollback", (client) => add(5, client));
      await add(1);
      await vi.waitFor(async () => expect(await waiting()).toBe(0), 5_000);
    });
    expect(seen).toEqual([1]);
  });

  test("finishes the batch that is under way when it is stopped", async () => {
    await add(10);
    const reached = new EventEmitter();
    let stopped = false;
    const relay = startRelay({
      databaseUrl,
      batchSize: 4,
      async forward(events, client) {
        await deliver(events, client);
        reached.emit("forward");
        await once(reached, "go on");
      },
    });
    await once(reached, "forward");
    const stopping = relay.stop().then(() => (stopped = true));
    expect(stopped).toBe(false);
    reached.emit("go on");
    await stopping;

    expect(await takeDelivered()).toEqual([1, 2, 3, 4]);
    expect(await waiting()).toBe(6);
    await takeEvents(pool);
  });

  test("stops though forwarding hangs, and leaves the events where they are", async () => {
    await add(2);
    const forward = vi.fn(() => new Promise(() => {}));
    await withRelay({ batchSeconds: 1, forward }, () =>
      vi.waitFor(() => expect(forward).toHaveBeenCalled(), 5_000),
    );
    expect(await takeEvents(pool)).toHaveLength(2);
  });

  test("leaves no connection behind", async () => {
    const relays = `select count(*)::int as count from pg_stat_activity
      where datname = current_database() and application_name = 'test relay'`;
    const url = new URL(databaseUrl);
    url.searchParams.set("application_name", "test relay");
    await withRelay({ databaseUrl: url.href, forward: async () => {} }, () =>
      vi.waitFor(
        async () => expect((await pool.query(relays)).rows).toEqual([{ count: 1 }]),
        5_000,
      ),
    );
    await vi.waitFor(
      async () => expect((await pool.query(relays)).rows).toEqual([{ count: 0 }]),
      5_000,
    );
  });
});

describe("every event is forwarded once", () => {
  test("by two relays at once", async () => {
    const byRelay = [0, 0];
    await add(1_000);
    const forward =
      (index: number): RelayOptions["forward"] =>
      async (events, client) => {
        byRelay[index]! += events.length;
        await deliver(events, client);
      };
    await withRelay({ forward: forward(0), batchSize: 10 }, () =>
      withRelay({ forward: forward(1), batchSize: 10 }, async () => {
        await vi.waitFor(async () => expect(await waiting()).toBe(0), 10_000);
      }),
    );

    expect((await takeDelivered()).sort((a, b) => a - b)).toEqual(upTo(1_000));
    expect(Math.min(...byRelay)).toBeGreaterThan(0);
  });

  test("when the connection breaks between reading and committing", async () => {
    await add(10);
    let breaks = 2;
    await withRelay(
      {
        batchSize: 4,
        async forward(events, client) {
          await deliver(events, client);
          if (breaks-- <= 0) return;
          const { rows } = await client.query("select pg_backend_pid() as pid");
          await pool.query("select pg_terminate_backend($1)", [rows[0].pid]);
        },
      },
      async (errors) => {
        await vi.waitFor(async () => expect(await waiting()).toBe(0), 10_000);
        expect(errors).toHaveLength(2);
      },
    );
    expect(await takeDelivered()).toEqual(upTo(10));
  });

  test("when its process is killed between reading and committing", async () => {
    await add(10);
    const child = await startChild(new URL("../../demo/stuck-relay.ts", import.meta.url), {
      env: { DATABASE_URL: databaseUrl },
      defer,
    });
    await child.told(({ kind }) => kind === "stuck");
    await child.kill();

    await withRelay({ forward: deliver }, () =>
      vi.waitFor(async () => expect(await waiting()).toBe(0), 5_000),
    );
    expect(await takeDelivered()).toEqual(upTo(10));
  });

  test("when forwarding fails, which is logged each time", async () => {
    await add(2);
    const failure = new Error("the queue is away");
    let failures = 2;
    await withRelay(
      {
        async forward(events, client) {
          await deliver(events, client);
          if (failures-- > 0) throw failure;
        },
      },
      async (errors) => {
        await vi.waitFor(async () => expect(await waiting()).toBe(0), 10_000);
        const logged = ["The outbox relay failed and will try again:", failure];
        expect(errors).toEqual([logged, logged]);
      },
    );
    expect(await takeDelivered()).toEqual([1, 2]);
  });

  test("when the logger fails too", async () => {
    await add(2);
    let failures = 1;
    const logger = {
      error() {
        throw new Error("the log is full");
      },
    };
    await withRelay(
      {
        logger,
        async forward(events, client) {
          if (failures-- > 0) throw new Error("the queue is away");
          await deliver(events, client);
        },
      },
      () => vi.waitFor(async () => expect(await waiting()).toBe(0), 10_000),
    );
    expect(await takeDelivered()).toEqual([1, 2]);
  });

  test("when forwarding hides that a query failed, which is logged all the same", async () => {
    await add(2);
    let failures = 1;
    await withRelay(
      {
        async forward(events, client) {
          await deliver(events, client);
          if (failures-- > 0) await client.query("no SQL").catch(() => {});
        },
      },
      async (errors) => {
        await vi.waitFor(async () => expect(await waiting()).toBe(0), 10_000);
        expect(String(errors[0]![1])).toMatch("a query failed in the relay's transaction");
        expect(errors).toHaveLength(1);
      },
    );
    expect(await takeDelivered()).toEqual([1, 2]);
  });

  test("when forwarding hangs: another relay takes over, and so does this one again", async () => {
    await add(10);
    let hangs = 2;
    const seen: number[] = [];
    await withRelay(
      {
        batchSeconds: 1,
        async forward(events, client) {
          if (hangs-- > 0) await new Promise(() => {});
          await deliver(events, client);
          seen.push(...events.map(number));
        },
      },
      async (errors) => {
        await vi.waitFor(async () => expect(await waiting()).toBe(0), 10_000);
        const error = new Error("a batch of the outbox took longer than 1 seconds");
        const logged = ["The outbox relay failed and will try again:", error];
        expect(errors).toEqual([logged, logged]);
      },
    );
    expect(await takeDelivered()).toEqual(upTo(10));
    expect(seen).toEqual(upTo(10));
  });

  test("when forwarding that hung comes back after it was given up", async () => {
    await add(3);
    const gate = new EventEmitter();
    let hangs = 1;
    const late: unknown[] = [];
    await withRelay(
      {
        batchSeconds: 1,
        async forward(events, client) {
          if (hangs-- > 0) {
            await once(gate, "go on");
            await deliver(events, client).catch((error) => late.push(error));
          } else await deliver(events, client);
        },
      },
      async () => {
        await vi.waitFor(async () => expect(await waiting()).toBe(0), 10_000);
        gate.emit("go on");
        await vi.waitFor(() => expect(late).toHaveLength(1), 5_000);
      },
    );
    expect(await takeDelivered()).toEqual(upTo(3));
  });

  test("when PostgreSQL stops and starts again", async () => {
    const postgres = await startEmbeddedPostgres(defer);
    const database = await createOutboxDatabase(defer, { serverUrl: postgres.url });
    const seen: number[] = [];
    await withRelay(
      {
        databaseUrl: database.databaseUrl,
        forward: async (events) => seen.push(...events.map(number)),
      },
      async (errors) => {
        await add(3, database.pool);
        await vi.waitFor(() => expect(seen).toEqual(upTo(3)), 5_000);

        await postgres.stop();
        await vi.waitFor(() => expect(errors.length).toBeGreaterThan(1), 10_000);
        await postgres.startAgain();
        await add(2, database.pool);
        await vi.waitFor(() => expect(seen).toEqual([1, 2, 3, 1, 2]), 10_000);
      },
    );
  });
});

describe("order", () => {
  test("is that of the ids within a transaction, whoever else adds events meanwhile", async () => {
    const seen: OutboxEvent[] = [];
    await inTransaction("commit", (one) =>
      inTransaction("commit", async (other) => {
        for (const turn of upTo(20)) await add(1, turn % 2 ? one : other);
      }),
    );
    await withRelay({ forward: async (events) => seen.push(...events) }, () =>
      vi.waitFor(() => expect(seen).toHaveLength(20), 5_000),
    );
    const ids = seen.map(({ id }) => BigInt(id));
    expect(ids).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)));
  });

  test("is not that of the ids where the lower ones are committed later", async () => {
    const seen: OutboxEvent[] = [];
    await withRelay({ forward: async (events) => seen.push(...events) }, async () => {
      await inTransaction("commit", async (client) => {
        await add(1, client);
        await add(1);
        await vi.waitFor(() => expect(seen).toHaveLength(1), 5_000);
      });
      await vi.waitFor(() => expect(seen).toHaveLength(2), 5_000);
    });
    expect(BigInt(seen[1]!.id)).toBeLessThan(BigInt(seen[0]!.id));
  });
});
