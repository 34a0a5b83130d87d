import type { EventName } from "@kernia/events";
import PgBoss from "pg-boss";
import type pg from "pg";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { Deferred } from "../../fixtures/deferred";
import {
  addMemberEvents,
  createOutboxDatabase,
  findFailedJobs,
  memberEvent,
  untilAllDone,
  watchOutbox,
} from "../../fixtures/outbox";
import { retryFailed, startWorker, type EventJob, type Queues, type WorkerOptions } from "./worker";

const defer = deferToEnd();
const added = "organization.member.added";

let databaseUrl: string;
let pool: pg.Pool;
let afterTest: Deferred;

beforeAll(async () => {
  ({ databaseUrl, pool } = await createOutboxDatabase(defer));
});

beforeEach(async () => {
  await pool.query("drop schema if exists pgboss cascade; delete from event_outbox");
  afterTest = new Deferred();
});

afterEach(() => afterTest.run());

/** A pg-boss as a user of version 10 makes it, but that its maintenance runs when it is told to. */
async function startBoss(): Promise<PgBoss> {
  const boss = new PgBoss({ connectionString: databaseUrl, schedule: false, supervise: false });
  boss.on("error", () => {});
  await boss.start();
  afterTest.defer(() => boss.stop({ graceful: false }));
  return boss;
}

/** A worker, what it logged, and its pg-boss. */
async function start(queues: Queues, options: Partial<WorkerOptions> = {}) {
  const logged: unknown[][] = [];
  const logger = { error: (...message: unknown[]) => void logged.push(message) };
  const boss = await startBoss();
  const worker = await startWorker({ databaseUrl, boss, queues, logger, ...options });
  const stop = vi.fn(worker.stop);
  afterTest.defer(async () => {
    if (stop.mock.calls.length === 0) await stop();
  });
  return { logged, boss, stop };
}

async function publish(event: EventName, payload: unknown): Promise<void> {
  const values = [event, JSON.stringify(payload)];
  await pool.query("insert into event_outbox (event, payload) values ($1, $2)", values);
}

const users = (count: number) => Array.from({ length: count }, (_, index) => `user_${index + 1}`);
const done = () => untilAllDone(pool);

/** A queue that notes the users of its events, in the order in which it is given them. */
function noting(queue: string, seen: string[]): Queues {
  return { [queue]: { [added]: ({ userId }) => seen.push(userId) } };
}

async function unrun(queue: string): Promise<number> {
  const { rows } = await pool.query(
    "select count(*)::int as count from pgboss.job where name = $1 and state < 'active'",
    [queue],
  );
  return rows[0].count;
}

describe("a queue", () => {
  test("gets each of its events once, in order, as does each other, and no others", async () => {
    const [one, other, deletions]: [string[], string[], string[]] = [[], [], []];
    await start({
      ...noting("one", one),
      ...noting("other", other),
      deletions: { "user.deleted": ({ userId }) => deletions.push(userId) },
    });
    await addMemberEvents(pool, 250);
    await done();

    expect(one).toEqual(users(250));
    expect(other).toEqual(users(250));
    expect(deletions).toEqual([]);
  });

  test.each<[EventName, unknown]>([
    [added, memberEvent("ü ☃ \u{1f600}")],
    ["organization.member.removed", { ...memberEvent("u"), action: "removed" }],
    ["organization.member.updated", { ...memberEvent("u"), action: "updated" }],
    ["user.deleted", { userId: "u", action: "deleted" }],
  ])("hands over the payload of %s, its job's id, and the time of the change", async (...told) => {
    const [event, payload] = told;
    const handler = vi.fn();
    await publish(event, payload);
    await pool.query("update event_outbox set created_at = '2025-01-02T03:04:05.678Z'");
    await start({ one: { [event]: handler } });
    await done();

    const id = expect.stringMatching(/^[\da-f-]{36}$/);
    const createdAt = new Date("2025-01-02T03:04:05.678Z");
    expect(handler.mock.calls).toEqual([[payload, { id, event, createdAt }]]);
  });

  test("does so many jobs at once", async () => {
    let [running, most] = [0, 0];
    await addMemberEvents(pool, 6);
    const together = async () => {
      most = Math.max(most, ++running);
      await vi.waitFor(() => expect(most).toBe(3), 5_000);
      running--;
    };
    await start({ one: { [added]: together } }, { concurrency: 3 });
    await done();
    expect(most).toBe(3);
  });

  test("is shared by its workers, and no job runs twice", async () => {
    const seen: [number, string][] = [];
    const queues = (worker: number): Queues => ({
      shared: {
        async [added]({ userId }: { userId: string }) {
          seen.push([worker, userId]);
          await vi.waitFor(() => expect(new Set(seen.map(([by]) => by)).size).toBe(2), 5_000);
        },
      },
    });
    await start(queues(1));
    await start(queues(2));
    await addMemberEvents(pool, 40);
    await done();
    expect(seen.map(([, userId]) => userId).sort()).toEqual(users(40).sort());
  });

  test("is read in its order, and not sorted for each job, however many are waiting", async () => {
    const { boss, stop } = await start(noting("one", []));
    await stop();
    await start({ idle: {} });
    await addMemberEvents(pool, 5_000);
    await vi.waitFor(async () => expect(await unrun("one")).toBe(5_000), 20_000);
    await pool.query("analyze pgboss.job");
    const plan: string[] = [];
    const executeSql = async (text: string, values: unknown[]) => {
      const { rows } = await pool.query(`explain ${text}`, values);
      plan.push(...rows.map((row) => row["QUERY PLAN"]));
      return { rows: [] };
    };
    await boss.fetch("one", { batchSize: 1, db: { executeSql } } as PgBoss.FetchOptions);
    expect(plan.join("\n")).toMatch(/Index Scan.*priority/);
    expect(plan.join("\n")).not.toContain("Sort Key: priority");
  });

  test("that is deleted gets nothing, and keeps no event from the others", async () => {
    const seen: string[] = [];
    const { boss } = await start(noting("one", seen));
    await boss.createQueue("other");
    await boss.subscribe(added, "other");
    await boss.deleteQueue("other");
    await addMemberEvents(pool, 3);
    await done();
    expect(seen).toEqual(users(3));
  });
});

describe("two teams with a worker each", () => {
  test("get all of 1,000 events, whichever worker moves them", async () => {
    const [ours, theirs]: [string[], string[]] = [[], []];
    await start(noting("ours", ours), { concurrency: 20 });
    await start(noting("theirs", theirs), { concurrency: 20 });
    for (let time = 0; time < 10; time++) await addMemberEvents(pool, 100);
    await done();

    const all = users(100).flatMap((user) => Array<string>(10).fill(user));
    expect(ours.sort()).toEqual(all.sort());
    expect(theirs.sort()).toEqual(all.sort());
  });

  test("get what happened while they were away", async () => {
    const [ours, theirs]: [string[], string[]] = [[], []];
    const away = await start(noting("ours", ours));
    await away.stop();
    const others = await start(noting("theirs", theirs));
    await addMemberEvents(pool, 20);
    await vi.waitFor(() => expect(theirs).toHaveLength(20), 10_000);
    expect(await unrun("ours")).toBe(20);
    await others.stop();

    await start(noting("ours", ours));
    await done();
    expect(ours).toEqual(users(20));
  });

  test("take back what they no longer want, and nothing of each other's", async () => {
    const theirs: string[] = [];
    const deleted = vi.fn();
    await start(noting("theirs", theirs));
    const old = await start({ ours: { [added]: () => {}, "user.deleted": deleted } });
    await old.stop();
    const { stop } = await start({
      ours: { "user.deleted": deleted },
      unwanted: { [added]: () => {} },
    });
    await stop();
    await start({ ours: { "user.deleted": deleted }, unwanted: {} });
    await addMemberEvents(pool, 3);
    await publish("user.deleted", { userId: "u", action: "deleted" });
    await done();

    expect(theirs).toEqual(users(3));
    expect(deleted).toHaveBeenCalledTimes(1);
    const { rows } = await pool.query("select event, name from pgboss.subscription order by 2");
    expect(rows).toEqual([
      { event: "user.deleted", name: "ours" },
      { event: added, name: "theirs" },
    ]);
  });
});

test("workers that start at the same moment, with the same queues, all start", async () => {
  const handler = vi.fn();
  const queues = { one: { [added]: handler }, other: { [added]: handler } };
  await startBoss();
  await Promise.all([start(queues), start(queues), start(queues)]);
  await addMemberEvents(pool, 10);
  await done();
  expect(handler).toHaveBeenCalledTimes(20);
});

describe("two versions of a worker", () => {
  test("the last to start decides what the queue gets", async () => {
    const older = vi.fn();
    await start({ one: { [added]: () => {}, "user.deleted": () => {} } });
    await start({ one: { [added]: older } });
    await publish("user.deleted", { userId: "u", action: "deleted" });
    await publish(added, memberEvent("u"));
    await done();
    const { rows } = await pool.query("select distinct data->>'event' as event from pgboss.job");
    expect(rows).toEqual([{ event: added }]);
  });

  test("a job whose event the old one does not know is left to the new one", async () => {
    const handler = vi.fn();
    const old = await start({ one: { [added]: () => {} } });
    await old.boss.subscribe("user.deleted", "one");
    await publish("user.deleted", { userId: "u", action: "deleted" });
    await vi.waitFor(
      () =>
        expect(old.logged).toEqual([
          [
            "Event handler failed:",
            "user.deleted",
            new Error("queue one has no handler for user.deleted here"),
          ],
        ]),
      10_000,
    );
    await old.stop();
    await start({ one: { [added]: () => {}, "user.deleted": handler } });
    await done();
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

test("an event that no queue is for is dropped", async () => {
  const seen: string[] = [];
  const { logged } = await start(noting("one", seen));
  await publish("user.deleted", { userId: "u", action: "deleted" });
  await addMemberEvents(pool, 1);
  await done();
  expect(seen).toEqual(users(1));
  expect(logged).toEqual([]);
});

describe("a handler that fails", () => {
  test("twice runs a third time, with the same job, and no other runs again", async () => {
    const jobs: EventJob[] = [];
    const others: EventJob[] = [];
    const { logged } = await start({
      "fails-twice": {
        [added](_, job) {
          if (jobs.push(job) < 3) throw new Error("not yet");
        },
      },
      succeeds: { [added]: (_, job) => others.push(job) },
    });
    await addMemberEvents(pool, 1);
    await done();

    expect(jobs).toEqual(Array(3).fill(jobs[0]));
    expect(others).toHaveLength(1);
    expect(others[0]!.id).not.toBe(jobs[0]!.id);
    const failure = ["Event handler failed:", added, new Error("not yet")];
    expect(logged).toEqual([failure, failure]);
  });

  test.each([1, 3])(
    "does not hold up the others, with a concurrency of %s",
    async (concurrency) => {
      const seen: string[] = [];
      const failsOnce = ({ userId }: { userId: string }) => {
        seen.push(userId);
        if (userId === "user_1" && seen.length <= 3) throw new Error("not yet");
      };
      await addMemberEvents(pool, 3);
      await start({ one: { [added]: failsOnce } }, { concurrency });
      await done();
      expect(seen.slice(0, 3).sort()).toEqual(users(3));
      expect(seen.slice(3)).toEqual(["user_1"]);
    },
  );

  test("to end is tried again once its time is up, and it alone", async () => {
    const seen: string[] = [];
    const hangsOnce = async ({ userId }: { userId: string }) => {
      seen.push(userId);
      if (userId === "user_1" && seen.length <= 3) await new Promise(() => {});
    };
    await addMemberEvents(pool, 3);
    const options = { concurrency: 3, expireInSeconds: 1 };
    const { logged } = await start({ one: { [added]: hangsOnce } }, options);
    await done();
    expect(seen.slice(0, 3).sort()).toEqual(users(3));
    expect(seen.slice(3)).toEqual(["user_1"]);
    const error = new Error("the handler took longer than 1 seconds");
    expect(logged).toEqual([["Event handler failed:", added, error]]);
  });

  test("to end does not keep the worker from being stopped", async () => {
    const handler = vi.fn(() => new Promise(() => {}));
    const { stop } = await start({ one: { [added]: handler } }, { expireInSeconds: 1 });
    await addMemberEvents(pool, 1);
    await vi.waitFor(() => expect(handler).toHaveBeenCalled(), 5_000);
    await stop();
    expect(await unrun("one")).toBe(1);
  });
});

test("a job whose end cannot be recorded is logged, and runs again", async () => {
  const handler = vi.fn();
  const boss = await startBoss();
  const complete = vi.spyOn(boss, "complete").mockRejectedValueOnce(new Error("connection lost"));
  const { logged } = await start({ one: { [added]: handler } }, { boss, expireInSeconds: 1 });
  await addMemberEvents(pool, 1);
  await vi.waitFor(() => expect(complete).toHaveBeenCalled(), 5_000);
  await vi.waitFor(async () => {
    await boss.expire();
    expect(handler).toHaveBeenCalledTimes(2);
  }, 15_000);
  await done();
  expect(logged).toEqual([
    ["Queue one could not record how a job ended:", new Error("connection lost")],
  ]);
});

describe("what is left of a job", () => {
  const findFailed = async () => (await pool.query(findFailedJobs)).rows;

  /** As it is after so many days, in which the maintenance of pg-boss ran with its defaults. */
  async function afterDays(days: number, boss: PgBoss): Promise<void> {
    const time = `interval '${days} days'`;
    await pool.query(`update pgboss.job set created_on = created_on - ${time},
      start_after = start_after - ${time}, keep_until = keep_until - ${time},
      completed_on = completed_on - ${time}`);
    await boss.archive();
    await pool.query("truncate pgboss.archive");
  }

  test("that did not run is kept for a year", async () => {
    const seen: string[] = [];
    const away = await start(noting("one", seen));
    await away.stop();
    await start({ other: { [added]: () => {} } });
    await addMemberEvents(pool, 3);
    await vi.waitFor(async () => expect(await unrun("one")).toBe(3), 5_000);
    const boss = await startBoss();

    await afterDays(364, boss);
    expect(await unrun("one")).toBe(3);
    await afterDays(2, boss);
    expect(await unrun("one")).toBe(0);
  });

  test("that failed for good is found a month later, and can be run again", async () => {
    const ran: EventJob[] = [];
    let broken = true;
    const queues: Queues = {
      one: {
        [added](_, job) {
          ran.push(job);
          if (broken) throw new Error("out of order");
        },
      },
    };
    const { boss } = await start(queues, { retryLimit: 1, retryDelay: 0 });
    await addMemberEvents(pool, 2);
    await vi.waitFor(async () => expect(await findFailed()).toHaveLength(2), 10_000);
    await afterDays(30, boss);

    const failed = await findFailed();
    expect(failed.map(({ name, payload, error }) => [name, payload.userId, error]).sort()).toEqual([
      ["one.failed", "user_1", "Error: out of order"],
      ["one.failed", "user_2", "Error: out of order"],
    ]);
    broken = false;
    ran.length = 0;
    const ids = [failed[0].id];
    const count = await retryFailed({ databaseUrl, boss, queue: "one", ids });
    expect(count).toBe(1);
    expect(await retryFailed({ databaseUrl, boss, queue: "one" })).toBe(1);
    await done();
    expect(ran.map(({ id }) => id).sort()).toEqual(failed.map(({ id }) => id).sort());
    expect(await findFailed()).toEqual([]);
  });

  test("that failed stays where it is if its queue is gone", async () => {
    const fails = () => {
      throw new Error("out of order");
    };
    const { boss } = await start({ one: { [added]: fails } }, { retryLimit: 0 });
    await addMemberEvents(pool, 1);
    await vi.waitFor(async () => expect(await findFailed()).toHaveLength(1), 5_000);
    await pool.query("delete from pgboss.job where name = 'one'");
    await boss.deleteQueue("one");
    await expect(retryFailed({ databaseUrl, boss, queue: "one" })).rejects.toThrow(
      "queue one took 0 of 1 jobs: does it exist?",
    );
    expect(await findFailed()).toHaveLength(1);
  });

  test("and how long things have been waiting can be asked, for each queue", async () => {
    const watch = async () => {
      const { rows } = await pool.query(watchOutbox);
      return new Map(rows.map(({ name, ...row }) => [name, row]));
    };
    const fails = () => {
      throw new Error("out of order");
    };
    const { stop } = await start(
      { bad: { [added]: fails }, good: { [added]: () => {} } },
      { retryLimit: 0 },
    );
    await addMemberEvents(pool, 2);
    await vi.waitFor(async () => expect(await findFailed()).toHaveLength(2), 10_000);
    await stop();
    await addMemberEvents(pool, 4);
    await pool.query(`update event_outbox set created_at = created_at - interval '1 hour';
      update pgboss.job set created_on = created_on - interval '2 hours'`);

    const watched = await watch();
    expect(watched.get("event_outbox")).toMatchObject({ count: "4", oldest: { hours: 1 } });
    expect(watched.get("bad.failed")).toMatchObject({ count: "2", oldest: { hours: 2 } });
    expect(watched.get("good")).toEqual({ count: "0", oldest: null });
  });
});
