import type { EventName } from "@kernia/events";
import type pg from "pg";
import { PgBoss, type QueueOptions } from "pg-boss";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { Deferred } from "../../fixtures/deferred";
import {
  addMemberEvents,
  createOutboxDatabase,
  createQuickQueue,
  memberEvent,
  untilAllDone,
} from "../../fixtures/outbox";
import { startWorker, type EventJob, type Queues, type WorkerOptions } from "./worker";

const defer = deferToEnd();
const added = "organization.member.added";
const deleted = "user.deleted";
const handlerFailed = "Event handler failed:";

let databaseUrl: string;
let pool: pg.Pool;
/** Not the worker's: creates queues beforehand, and does what an operator does. */
let boss: PgBoss;
let afterTest: Deferred;

beforeAll(async () => {
  ({ databaseUrl, pool } = await createOutboxDatabase(defer));
  boss = new PgBoss({ connectionString: databaseUrl, schedule: false, supervise: false });
  await boss.start();
  defer(() => boss.stop());
});

beforeEach(async () => {
  await pool.query("truncate event_outbox, pgboss.queue cascade");
  afterTest = new Deferred();
});

afterEach(() => afterTest.run());

/** Starts a worker, which is stopped after the test. */
async function start(queues: Queues, options: Partial<WorkerOptions> = {}) {
  const logged: unknown[][] = [];
  const logger = { error: (...message: unknown[]) => void logged.push(message) };
  const worker = await startWorker({ databaseUrl, queues, logger, ...options });
  afterTest.defer(worker.stop);
  return { ...worker, logged };
}

const createQueue = (name: string, settings?: QueueOptions) =>
  createQuickQueue(boss, name, settings);

async function createQueueWithoutWorker(name: string): Promise<void> {
  await createQueue(name);
  await boss.subscribe(added, name);
}

async function publish(event: EventName, payload: unknown): Promise<void> {
  const values = [event, JSON.stringify(payload)];
  await pool.query("insert into event_outbox (event, payload) values ($1, $2)", values);
}

const publishDeletion = () => publish(deleted, { userId: "u", action: "deleted" });
const users = (count: number) => Array.from({ length: count }, (_, index) => `user_${index + 1}`);
const done = () => untilAllDone(pool);
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 20_000, interval: 20 });

/** A queue that keeps the users of its events, in the order in which its handler receives them. */
function recording(queue: string, received: string[]): Queues {
  return { [queue]: { [added]: ({ userId }) => received.push(userId) } };
}

/** The users of all jobs that the queue was given, sorted by name. */
async function usersOf(queue: string): Promise<string[]> {
  const query = "select data->'payload'->>'userId' as user from pgboss.job where name = $1";
  return (await pool.query(query, [queue])).rows.map(({ user }) => user).sort();
}

describe("each event becomes one job in each queue that is subscribed to it", () => {
  test("in the order of the transaction that made the changes", async () => {
    const [one, other]: [string[], string[]] = [[], []];
    await addMemberEvents(pool, 30);
    await start({ ...recording("one", one), ...recording("other", other) });
    await done();
    expect(one).toEqual(users(30));
    expect(other).toEqual(users(30));
  });

  test("whichever worker moves it, when several start and run at the same time", async () => {
    const queues = { ...recording("one", []), ...recording("other", []) };
    await Promise.all(Array.from({ length: 3 }, () => start(queues, { concurrency: 50 })));
    await start(recording("third", []), { concurrency: 50 });
    await Promise.all(Array.from({ length: 3 }, () => addMemberEvents(pool, 250)));
    await done();
    const all = users(250).flatMap((user) => Array<string>(3).fill(user));
    for (const queue of ["one", "other", "third"]) expect(await usersOf(queue)).toEqual(all.sort());
  });

  test("also if the transaction that moves it fails at its commit, and the logger too", async () => {
    await pool.query(`
      create sequence commits;
      create function fail_twice() returns trigger language plpgsql as $$ begin
        if nextval('commits') <= 2 then raise 'this commit fails'; end if;
        return null;
      end; $$;
      create constraint trigger fail_twice after delete on event_outbox
      deferrable initially deferred for each row execute function fail_twice()`);
    afterTest.defer(() => pool.query("drop function fail_twice cascade; drop sequence commits"));
    await createQueueWithoutWorker("one");
    await addMemberEvents(pool, 10);
    const logged: unknown[][] = [];
    function error(...message: unknown[]): Promise<void> {
      if (logged.push(message) === 1) throw new Error("the log is full");
      return Promise.reject(new Error("the log is still full"));
    }
    await start({}, { logger: { error } });
    await until(async () => expect(await usersOf("one")).toEqual(users(10).sort()));
    const failure = ["The outbox relay failed and will retry:", expect.any(Error)];
    expect(logged).toEqual([failure, failure]);
    expect((await pool.query("select from event_outbox")).rowCount).toBe(0);
  });

  test("large ones in transactions of about ten megabytes", async () => {
    await pool.query(
      `insert into event_outbox (event, payload)
      select $1, $2::jsonb || jsonb_build_object('text', repeat('x', 6000000))
      from generate_series(1, 3)`,
      [added, JSON.stringify(memberEvent("u"))],
    );
    await start({ one: { [added]: () => {} } });
    await done();
    const { rows } = await pool.query(
      "select count(*)::int from pgboss.job group by created_on order by created_on",
    );
    expect(rows).toEqual([{ count: 2 }, { count: 1 }]);
  });
});

describe("a queue", () => {
  test("receives what happened while its worker was away, and other teams ran theirs", async () => {
    const [ours, theirs]: [string[], string[]] = [[], []];
    const away = await start(recording("ours", ours));
    await away.stop();
    await start(recording("theirs", theirs));
    await addMemberEvents(pool, 3);
    await until(() => expect(theirs).toEqual(users(3)));
    const query = "select keep_until - created_on as kept from pgboss.job where name = 'ours'";
    expect((await pool.query(query)).rows[0].kept).toEqual({ days: 365 });
    expect(ours).toEqual([]);

    await start(recording("ours", ours));
    await done();
    expect(ours).toEqual(users(3));
  });

  test("receives what the last version of its worker to start names; the rest is dropped", async () => {
    const [older, theirs, handler] = [vi.fn(), vi.fn(), vi.fn()];
    await start({ ours: { [added]: older, [deleted]: () => {} } }).then(({ stop }) => stop());
    await start({ theirs: { [added]: theirs } });
    const { logged } = await start({ ours: { [deleted]: handler } });
    await addMemberEvents(pool, 1);
    await publishDeletion();
    await publish("test.unknown", {});
    await done();
    expect(older).not.toHaveBeenCalled();
    expect(theirs).toHaveBeenCalledOnce();
    expect(handler).toHaveBeenCalledOnce();
    expect(logged).toEqual([]);
  });

  test("leaves a job whose event this version does not name to another", async () => {
    await createQueue("one");
    const older = await start({ one: { [added]: () => {} } });
    await boss.subscribe(deleted, "one");
    await publishDeletion();
    const error = new Error("queue one has no handler for user.deleted here");
    await until(() => expect(older.logged).toContainEqual([handlerFailed, deleted, error]));
    await older.stop();

    const handler = vi.fn();
    await start({ one: { [deleted]: handler } });
    await done();
    expect(handler).toHaveBeenCalledOnce();
  });

  test("that exists keeps its settings", async () => {
    await createQueue("one", { retryLimit: 7, expireInSeconds: 300 });
    const before = await boss.getQueue("one");
    await start({ one: { [added]: () => {} }, created: { [added]: () => {} } });
    const { retryLimit, expireInSeconds, deadLetter, updatedOn } = before!;
    const kept = { retryLimit, expireInSeconds, deadLetter, updatedOn, heartbeatSeconds: null };
    expect(await boss.getQueue("one")).toMatchObject(kept);
    expect(await boss.getQueue("created")).toMatchObject({
      retryLimit: 20,
      retryBackoff: true,
      expireInSeconds: 65,
      heartbeatSeconds: 10,
      deadLetter: "created.failed",
    });
    expect(await boss.getQueue("created.failed")).toMatchObject({ retentionSeconds: 31_536_000 });
  });

  test("whose policy drops jobs is an error, and the worker leaves no connection behind", async () => {
    await boss.createQueue("one", { policy: "short" });
    const connections = async () => {
      const { rows } = await pool.query(`select count(distinct application_name)::int
        from pg_stat_activity where datname = current_database() and application_name ~ '^pgboss'`);
      return rows[0].count;
    };
    const before = await connections();
    await expect(start({ one: {} })).rejects.toThrow(
      "queue one has the policy short, which would drop events",
    );
    await vi.waitFor(async () => expect(await connections()).toBe(before), 3_000);
  });
});

describe("a handler", () => {
  test("receives the payload, the job's id, the event and the time of the change", async () => {
    const payload = memberEvent("ü ☃ \u{1f600}");
    const handler = vi.fn();
    await publish(added, payload);
    await pool.query("update event_outbox set created_at = '2025-01-02T03:04:05.678Z'");
    await start({ one: { [added]: handler } });
    await done();
    const id = expect.stringMatching(/^[\da-f-]{36}$/);
    const createdAt = new Date("2025-01-02T03:04:05.678Z");
    expect(handler.mock.calls).toEqual([[payload, { id, event: added, createdAt }]]);
  });

  test("that fails is logged and retried with the same job, and no other is", async () => {
    const failures = [new Error("not yet"), "a text", undefined];
    const [jobs, others]: [EventJob[], string[]] = [[], []];
    await Promise.all(["one", "other"].map((queue) => createQueue(queue)));
    await addMemberEvents(pool, 3);
    const { logged } = await start(
      {
        one: {
          [added]({ userId }, job) {
            if (userId !== "user_1") others.push(userId);
            else if (jobs.push(job) <= failures.length) throw failures[jobs.length - 1];
          },
        },
        ...recording("other", others),
      },
      { concurrency: 3 },
    );
    await done();
    expect(jobs).toEqual(Array(4).fill(jobs[0]));
    expect(others.sort()).toEqual(["user_1", "user_2", "user_2", "user_3", "user_3"]);
    expect(logged).toEqual(failures.map((failure) => [handlerFailed, added, failure]));
  });

  test("that hangs is retried once its time is up, and holds up none that runs beside it", async () => {
    const received: string[] = [];
    await createQueue("one", { expireInSeconds: 6 });
    const hangsOnce = ({ userId }: { userId: string }) => {
      received.push(userId);
      if (userId === "user_1" && received.length <= 3) return new Promise(() => {});
    };
    await addMemberEvents(pool, 3);
    const { logged } = await start({ one: { [added]: hangsOnce } }, { concurrency: 3 });
    await done();
    expect(received.slice(0, 3).sort()).toEqual(users(3));
    expect(received.slice(3)).toEqual(["user_1"]);
    const error = new Error("the handler took longer than 1 seconds");
    expect(logged).toEqual([[handlerFailed, added, error]]);
  });

  test("whose worker has died is called by another one", async () => {
    await createQueue("one", { heartbeatSeconds: 10 });
    const data = { id: "1", event: added, payload: {}, createdAt: new Date() };
    await boss.send("one", data);
    // As a worker does that dies then.
    await boss.fetch("one");
    const handler = vi.fn();
    const worker = await start({ one: { [added]: handler } });
    await pool.query("update pgboss.job set heartbeat_on = heartbeat_on - interval '10 seconds'");
    await worker.boss.supervise();
    await done();
    expect(handler).toHaveBeenCalledOnce();
    // What it does by itself, and how often.
    const query = "select config from pgboss.instance order by started_on desc limit 1";
    expect((await pool.query(query)).rows[0].config).toMatchObject({
      supervise: true,
      superviseIntervalSeconds: 5,
      monitorIntervalSeconds: 5,
    });
  });
});

test("an operator sees what is waiting and what failed, and has it run again", async () => {
  await createQueue("seat-sync", { retryLimit: 1 });
  const ran: string[] = [];
  const fails = (_: unknown, { id }: EventJob) => {
    ran.push(id);
    throw new Error("out of order");
  };
  await addMemberEvents(pool, 2);
  const { stop } = await start({ "seat-sync": { [added]: fails } });
  await until(async () => expect(await usersOf("seat-sync.failed")).toHaveLength(2));
  await stop();
  await addMemberEvents(pool, 3);
  await pool.query("update event_outbox set created_at = created_at - interval '1 hour'");
  await boss.supervise();

  const { rows } = await pool.query(
    "select count(*)::int, now() - min(created_at) as oldest from event_outbox",
  );
  const queues = await boss.getQueues();
  const failed = await boss.findJobs("seat-sync.failed");
  await boss.redrive("seat-sync.failed", { ids: failed.map(({ id }) => id) });

  expect(rows).toMatchObject([{ count: 3, oldest: { hours: 1 } }]);
  const waiting = queues.map(({ name, queuedCount }) => `${name}: ${queuedCount}`);
  expect(waiting).toEqual(["seat-sync: 0", "seat-sync.failed: 2"]);
  const output = { message: "Error: out of order" };
  expect(failed.map(({ sourceOutput }) => sourceOutput)).toEqual([output, output]);
  const rerun: string[] = [];
  await start({ "seat-sync": { [added]: (_, { id }) => rerun.push(id) } });
  await done();
  expect(rerun.filter((id) => ran.includes(id)).sort()).toEqual([...new Set(ran)].sort());
  expect(ran).toHaveLength(4);
});

test("a worker that is stopped finishes its jobs, and leaves what is not its own running", async () => {
  let finish = () => {};
  const handler = vi.fn(() => new Promise<void>((resolve) => (finish = resolve)));
  const stopped = vi.fn();
  const { stop } = await start({ one: { [added]: handler } });
  const others = await start({ other: { [added]: () => {} } });
  await addMemberEvents(pool, 1);
  await until(() => expect(handler).toHaveBeenCalledOnce());
  const stopping = stop().then(stopped);
  await addMemberEvents(pool, 1);
  await until(async () => expect(await usersOf("other")).toHaveLength(2));
  expect(stopped).not.toHaveBeenCalled();
  finish();
  await stopping;
  const { rows } = await pool.query("select state from pgboss.job where name = 'one' order by 1");
  expect(rows).toEqual([{ state: "created" }, { state: "completed" }]);
  expect(others.logged).toEqual([]);
});
