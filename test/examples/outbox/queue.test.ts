import { setTimeout as sleep } from "node:timers/promises";
import type { EventName, Events } from "@kernia/events";
import PgBoss from "pg-boss";
import type pg from "pg";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { deferToEnd } from "../../app/harness/defer-to-end";
import { createOutboxDatabase, untilAllDone } from "../../app/harness/outbox";
import { addJobs, createQueues, work, type Queues } from "./queue";
import type { OutboxEvent } from "./relay";

const defer = deferToEnd();

const added = "organization.member.added";
const memberEvent = (userId: string): Events[typeof added] => ({
  organizationId: "org_1",
  userId,
  role: "member",
  action: "added",
});
const outboxEvents = (...events: [EventName, unknown][]): OutboxEvent[] =>
  events.map(([event, payload], index) => ({
    id: String(index),
    event,
    payload,
    createdAt: new Date(),
  }));
const members = (count: number) =>
  outboxEvents(
    ...Array.from({ length: count }, (_, index): [string, unknown] => [
      added,
      memberEvent(`user_${index}`),
    ]),
  );

let databaseUrl: string;
let pool: pg.Pool;
let boss: PgBoss;

beforeAll(async () => {
  ({ databaseUrl, pool } = await createOutboxDatabase(defer));
});

beforeEach(async () => {
  await pool.query("drop schema if exists pgboss cascade");
  boss = await startBoss();
});

afterEach(() => boss.stop({ graceful: false, wait: true }));

async function startBoss(): Promise<PgBoss> {
  const boss = new PgBoss({ connectionString: databaseUrl, schedule: false });
  boss.on("error", () => {});
  return boss.start();
}

/** Adds the jobs in a transaction that ends with `end`. */
async function add(queues: Queues, events: OutboxEvent[], end = "commit"): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    await addJobs(boss, queues, events, client);
    await client.query(end);
  } finally {
    client.release(true);
  }
}

const silent = { error: () => {} };

describe("a queue", () => {
  test("gets each of its events once, as does each other, and no others", async () => {
    const seen: Record<string, string[]> = { one: [], other: [], deletions: [] };
    const queues: Queues = {
      one: { [added]: ({ userId }) => seen["one"]!.push(userId) },
      other: { [added]: ({ userId }) => seen["other"]!.push(userId) },
      deletions: { "user.deleted": ({ userId }) => seen["deletions"]!.push(userId) },
    };
    await createQueues(boss, queues);
    await add(queues, members(20));
    await work(boss, queues, silent);
    await untilAllDone(pool);

    const users = members(20).map(({ payload }) => (payload as { userId: string }).userId);
    expect(new Set(seen["one"])).toEqual(new Set(users));
    expect(new Set(seen["other"])).toEqual(new Set(users));
    expect(seen).toMatchObject({ one: { length: 20 }, other: { length: 20 }, deletions: [] });
  });

  test("has its jobs in the order of the events", async () => {
    const queues: Queues = { one: { [added]: () => {} } };
    await createQueues(boss, queues);
    await add(queues, members(300));
    await add(queues, members(300));
    const { rows } = await pool.query(
      "select data->'payload' as payload from pgboss.job where name = 'one' order by created_on, id",
    );
    const payloads = members(300).map(({ payload }) => ({ payload }));
    expect(rows).toEqual([...payloads, ...payloads]);
  });

  test("gets nothing of a transaction that is rolled back", async () => {
    const queues: Queues = { one: { [added]: () => {} } };
    await createQueues(boss, queues);
    await add(queues, members(3), "rollback");
    expect(await boss.getQueueSize("one")).toBe(0);
  });

  test.each<[EventName, unknown]>([
    [added, memberEvent("ü ☃ \u{1f600}")],
    ["organization.member.removed", { ...memberEvent("u"), action: "removed" }],
    ["organization.member.updated", { ...memberEvent("u"), action: "updated" }],
    ["user.deleted", { userId: "u", action: "deleted" }],
  ])("hands over the payload of %s, and the id of its job", async (event, payload) => {
    const handler = vi.fn();
    const queues: Queues = { one: { [event]: handler } };
    await createQueues(boss, queues);
    await add(queues, outboxEvents([event, payload]));
    await work(boss, queues, silent);
    await untilAllDone(pool);

    expect(handler.mock.calls).toEqual([[payload, expect.stringMatching(/^[\da-f-]{36}$/)]]);
  });

  test("that is not there fails the relay's transaction, so that the event stays", async () => {
    const queues: Queues = { "not-there": { [added]: () => {} } };
    await expect(add(queues, members(1))).rejects.toThrow("not-there");
  });

  test("may be created again", async () => {
    const queues: Queues = { one: { [added]: () => {} } };
    await createQueues(boss, queues);
    await add(queues, members(2));
    await createQueues(boss, queues);
    expect(await boss.getQueueSize("one")).toBe(2);
  });
});

describe("a handler that fails", () => {
  test("twice runs a third time, with the same job id, and no other runs again", async () => {
    const logged: unknown[][] = [];
    const jobIds: string[] = [];
    const others: string[] = [];
    const queues: Queues = {
      "fails-twice": {
        [added](_, jobId) {
          if (jobIds.push(jobId) < 3) throw new Error("not yet");
        },
      },
      succeeds: { [added]: (_, jobId) => others.push(jobId) },
    };
    await createQueues(boss, queues, { retryDelay: 1 });
    await add(queues, members(1));
    await work(boss, queues, { error: (...args) => logged.push(args) });
    await untilAllDone(pool);

    expect(jobIds).toEqual(Array(3).fill(jobIds[0]));
    expect(others).toHaveLength(1);
    const failure = ["Event handler failed:", added, new Error("not yet")];
    expect(logged).toEqual([failure, failure]);
  });

  test("runs again alone, though others ran at the same time", async () => {
    const seen: string[] = [];
    const queues: Queues = {
      one: {
        [added]({ userId }) {
          seen.push(userId);
          if (userId === "user_1" && seen.length <= 3) throw new Error("not yet");
        },
      },
    };
    await createQueues(boss, queues);
    await add(queues, members(3));
    await work(boss, queues, silent, 3);
    await untilAllDone(pool);
    expect(seen.slice(0, 3).sort()).toEqual(["user_0", "user_1", "user_2"]);
    expect(seen.slice(3)).toEqual(["user_1"]);
  });

  test("does not hold up the jobs behind it", async () => {
    const seen: string[] = [];
    const queues: Queues = {
      one: {
        [added]({ userId }) {
          seen.push(userId);
          if (seen.length === 1) throw new Error("not yet");
        },
      },
    };
    await createQueues(boss, queues);
    await add(queues, members(3));
    await work(boss, queues, silent);
    await untilAllDone(pool);
    expect(seen.slice(0, 3).sort()).toEqual(["user_0", "user_1", "user_2"]);
    expect(seen[3]).toBe(seen[0]);
  });
});

describe("several workers", () => {
  test("share a queue, and no job runs twice", async () => {
    const seen: [number, string][] = [];
    const queues = (worker: number): Queues => ({
      shared: {
        async [added]({ userId }: { userId: string }) {
          seen.push([worker, userId]);
          await sleep(5);
        },
      },
    });
    const events = members(40);
    await createQueues(boss, queues(0));
    await add(queues(0), events);
    const other = await startBoss();
    await work(boss, queues(1), silent);
    await work(other, queues(2), silent);
    await untilAllDone(pool);
    await other.stop({ graceful: false, wait: true });

    expect(seen.map(([, userId]) => userId).sort()).toEqual(
      events.map(({ payload }) => (payload as { userId: string }).userId).sort(),
    );
    expect(new Set(seen.map(([worker]) => worker))).toEqual(new Set([1, 2]));
  });

  test("that are one process work on so many jobs at once", async () => {
    let [running, most] = [0, 0];
    const queues: Queues = {
      one: {
        async [added]() {
          most = Math.max(most, ++running);
          await vi.waitFor(() => expect(most).toBe(3), 5_000);
          running--;
        },
      },
    };
    await createQueues(boss, queues);
    await add(queues, members(6));
    await work(boss, queues, silent, 3);
    await untilAllDone(pool);
    expect(most).toBe(3);
  });

  test("start at once when they are woken", async () => {
    const handler = vi.fn();
    const queues: Queues = { one: { [added]: handler } };
    await createQueues(boss, queues);
    const wake = await work(boss, queues, silent);
    // Each has looked once, found nothing, and would look again in two seconds.
    await vi.waitFor(() => expect(boss.listenerCount("error")).toBeGreaterThan(0));
    await add(queues, members(1));
    wake();
    await vi.waitFor(() => expect(handler).toHaveBeenCalledOnce(), 1_000);
  });
});
