import type pg from "pg";
import { PgBoss } from "pg-boss";
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
import { publish } from "./publish";
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
  await pool.query("truncate event_outbox.event, pgboss.queue cascade");
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

const users = (count: number) => Array.from({ length: count }, (_, index) => `user_${index + 1}`);
const done = () => untilAllDone(pool);
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 20_000, interval: 20 });

/** A queue that keeps the users of its events, in the order in which its handler receives them. */
function recording(queue: string, received: string[]): Queues {
  return { [queue]: { [added]: ({ userId }) => received.push(userId) } };
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
    const [one, other]: [string[], string[]] = [[], []];
    const queues = { ...recording("one", one), ...recording("other", other) };
    await addMemberEvents(pool, 450);
    await Promise.all(Array.from({ length: 3 }, () => start(queues, { concurrency: 200 })));
    await done();
    for (const received of [one, other]) expect(received.sort()).toEqual(users(450).sort());
  });

  test("also if the transaction that moves it fails at its commit, and the logger too", async () => {
    await pool.query(`
      create sequence commits;
      create function fail_once() returns trigger language plpgsql as $$ begin
        if nextval('commits') = 1 then raise 'this commit fails'; end if;
        return null;
      end; $$;
      create constraint trigger fail_once after delete on event_outbox.event
      deferrable initially deferred for each row execute function fail_once()`);
    afterTest.defer(() => pool.query("drop function fail_once cascade; drop sequence commits"));
    await createQuickQueue(boss, "one");
    await addMemberEvents(pool, 3);
    const handlerError = new Error("the handler fails once");
    const handler = vi.fn().mockRejectedValueOnce(handlerError);
    const error = vi.fn().mockRejectedValue(new Error("the log is down")).mockThrowOnce("full");
    await start({ one: { [added]: handler } }, { logger: { error } });
    await done();
    expect(handler).toHaveBeenCalledTimes(3 + 1);
    expect(error.mock.calls).toEqual([
      ["The outbox relay failed and will retry:", expect.any(Error)],
      [handlerFailed, added, handlerError],
    ]);
  });

  test("moved in transactions of about ten megabytes", async () => {
    await createQuickQueue(boss, "one");
    await boss.subscribe(added, "one");
    await pool.query(
      `insert into event_outbox.event (name, payload)
      select $1, jsonb_build_object('text', repeat('x', length))
      from unnest(array[1, 11000000, 1]) length`,
      [added],
    );
    await start({});
    const moved = "select count(*)::int from pgboss.job group by created_on order by created_on";
    await until(async () =>
      expect((await pool.query(moved)).rows).toEqual([{ count: 2 }, { count: 1 }]),
    );
  });
});

describe("a queue", () => {
  test("receives what happened while its worker was away, and other teams ran theirs", async () => {
    const [ours, theirs]: [string[], string[]] = [[], []];
    const away = await start(recording("ours", ours));
    await away.stop();
    await addMemberEvents(pool, 3);
    await start(recording("theirs", theirs));
    await until(() => expect(theirs).toEqual(users(3)));
    const query = "select keep_until - created_on as kept from pgboss.job where name = 'ours'";
    expect((await pool.query(query)).rows[0].kept).toEqual({ days: 365 });
    await start(recording("ours", ours));
    await done();
    expect(ours).toEqual(users(3));
  });

  test("receives what the last version of its worker to start names; the rest is dropped", async () => {
    const [older, theirs, handler] = [vi.fn(), vi.fn(), vi.fn()];
    await start({ ours: { [added]: older, [deleted]: older } }).then(({ stop }) => stop());
    await addMemberEvents(pool, 1);
    await publish(pool, deleted, { userId: "u", action: "deleted" });
    await publish(pool, "organization.member.removed", { ...memberEvent("u"), action: "removed" });
    const { logged } = await start({ ours: { [deleted]: handler }, theirs: { [added]: theirs } });
    await done();
    expect(older).not.toHaveBeenCalled();
    expect(theirs).toHaveBeenCalledOnce();
    expect(handler).toHaveBeenCalledOnce();
    expect(logged).toEqual([]);
  });

  test("that exists keeps its settings", async () => {
    await createQuickQueue(boss, "one", { retryLimit: 7, expireInSeconds: 300 });
    const before = await boss.getQueue("one");
    await start({ one: {}, created: {} });
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

  test("whose policy drops jobs is an error, after which no connection is left", async () => {
    await boss.createQueue("one", { policy: "short" });
    const stop = vi.spyOn(PgBoss.prototype, "stop");
    afterTest.defer(() => stop.mockRestore());
    await expect(start({ one: {} })).rejects.toThrow(
      "queue one has the policy short, which would drop events",
    );
    expect(stop).toHaveBeenCalledOnce();
  });
});

describe("a handler", () => {
  test("receives the payload, the job's id, the event and the time of the change", async () => {
    const payload = memberEvent("ü ☃ \u{1f600}");
    const handler = vi.fn();
    await publish(pool, added, payload);
    await pool.query("update event_outbox.event set created_at = '2025-01-02T03:04:05.678Z'");
    await start({ one: { [added]: handler } });
    await done();
    const id = expect.stringMatching(/^[\da-f-]{36}$/);
    const createdAt = new Date("2025-01-02T03:04:05.678Z");
    expect(handler.mock.calls).toEqual([[payload, { id, event: added, createdAt }]]);
  });

  test("that fails is logged and retried with the same job, and no other is", async () => {
    const failures = [new Error("not yet"), "a text", undefined];
    const [jobs, others]: [EventJob[], string[]] = [[], []];
    await createQuickQueue(boss, "one");
    function failing({ userId }: { userId: string }, job: EventJob) {
      if (userId !== "user_1") others.push(userId);
      else if (jobs.push(job) <= failures.length) throw failures[jobs.length - 1];
    }
    await addMemberEvents(pool, 3);
    const queues = { one: { [added]: failing }, ...recording("other", others) };
    const { logged } = await start(queues, { concurrency: 3 });
    await done();
    expect(jobs).toEqual(Array(4).fill(jobs[0]));
    expect(others.sort()).toEqual(["user_1", "user_2", "user_2", "user_3", "user_3"]);
    expect(logged).toEqual(failures.map((failure) => [handlerFailed, added, failure]));
  });

  test("that hangs is retried once its time is up, and holds up none that runs beside it", async () => {
    const received: string[] = [];
    await createQuickQueue(boss, "one", { expireInSeconds: 6 });
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
    await createQuickQueue(boss, "one", { heartbeatSeconds: 10 });
    await boss.send("one", { id: "1", event: added, payload: {}, createdAt: new Date() });
    // As a worker does that dies then.
    await boss.fetch("one");
    await pool.query("update pgboss.job set heartbeat_on = heartbeat_on - interval '10 seconds'");
    await boss.supervise();
    const handler = vi.fn();
    await start({ one: { [added]: handler } });
    await done();
    expect(handler).toHaveBeenCalledOnce();
    // A worker supervises by itself, so often.
    const query = "select config from pgboss.instance order by started_on desc limit 1";
    expect((await pool.query(query)).rows[0].config).toMatchObject({
      supervise: true,
      superviseIntervalSeconds: 5,
      monitorIntervalSeconds: 5,
    });
  });
});

test("an operator sees what is waiting and what failed, and has it run again", async () => {
  await createQuickQueue(boss, "seat-sync", { retryLimit: 1 });
  const ran: string[] = [];
  const fails = (_: unknown, { id }: EventJob) => {
    ran.push(id);
    throw new Error("out of order");
  };
  await addMemberEvents(pool, 2);
  const { stop } = await start({ "seat-sync": { [added]: fails } });
  await until(async () => expect(await boss.findJobs("seat-sync.failed")).toHaveLength(2));
  await stop();
  await addMemberEvents(pool, 3);
  await pool.query("update event_outbox.event set created_at = created_at - interval '1 hour'");
  await boss.supervise();

  const { rows } = await pool.query(
    "select count(*)::int, now() - min(created_at) as oldest from event_outbox.event",
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
});

test("a worker that is stopped finishes its jobs, and leaves what is not its own running", async () => {
  let finish = () => {};
  const handler = vi.fn(() => new Promise<void>((resolve) => (finish = resolve)));
  const stopped = vi.fn();
  await addMemberEvents(pool, 1);
  const { stop } = await start({ one: { [added]: handler } });
  const others: string[] = [];
  await until(() => expect(handler).toHaveBeenCalledOnce());
  const stopping = stop().then(stopped);
  await start(recording("other", others));
  await addMemberEvents(pool, 1);
  await until(() => expect(others).toHaveLength(1));
  expect(stopped).not.toHaveBeenCalled();
  finish();
  await stopping;
  const { rows } = await pool.query("select state from pgboss.job where name = 'one' order by 1");
  expect(rows).toEqual([{ state: "created" }, { state: "completed" }]);
});
