import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type pg from "pg";
import { PgBoss } from "pg-boss";
import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
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

type Member = { userId: string };

/** Jobs as a worker adds them. */
const jobs = (count: number) =>
  users(count).map((userId) => ({
    data: { id: userId, event: added, payload: memberEvent(userId), createdAt: new Date() },
  }));

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

afterEach(async () => {
  vi.restoreAllMocks();
  await afterTest.run();
});

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

test("each event is one job in each queue, with its payload, name, id and time, in the order in which the transaction made the changes", async () => {
  await publish(pool, added, memberEvent("ü ☃ \u{1f600}"));
  await addMemberEvents(pool, 30);
  const { rows } = await pool.query(`
      update event_outbox.event set created_at = '2025-01-02T03:04:05.678Z' returning *`);
  const [one, other] = [vi.fn(), vi.fn()];
  await start({ one: { [added]: one }, other: { [added]: other } });
  await done();
  const createdAt = new Date("2025-01-02T03:04:05.678Z");
  const signal = expect.any(AbortSignal);
  const calls = rows.map(({ id, payload }) => [payload, { id, event: added, createdAt, signal }]);
  expect(calls.map(([{ userId }]) => userId)).toEqual(["ü ☃ \u{1f600}", ...users(30)]);
  expect(one.mock.calls).toEqual(calls);
  expect(other.mock.calls).toEqual(calls);
});

test("each event is one job also if moving it fails, before the commit or by it, and the logger fails too", async () => {
  await pool.query(`
      create sequence commits;
      create function fail_once() returns trigger language plpgsql as $$ begin
        if nextval('commits') = 1 then
          raise 'idle for %', current_setting('idle_in_transaction_session_timeout');
        end if;
        return null;
      end; $$;
      create constraint trigger fail_once after delete on event_outbox.event
      deferrable initially deferred for each row execute function fail_once()`);
  afterTest.defer(() => pool.query("drop function fail_once cascade; drop sequence commits"));
  vi.spyOn(PgBoss.prototype, "insert").mockRejectedValueOnce(new Error("no queue"));
  await createQuickQueue(boss, "one");
  await addMemberEvents(pool, 3);
  const handlerError = new Error("the handler fails once");
  const handler = vi.fn().mockRejectedValueOnce(handlerError);
  const error = vi.fn().mockRejectedValue(new Error("the log is down")).mockThrowOnce("full");
  await start({ one: { [added]: handler } }, { logger: { error } });
  await done();
  expect(handler).toHaveBeenCalledTimes(3 + 1);
  const relayFailed = "The outbox relay failed and will retry:";
  expect(error.mock.calls).toMatchObject([
    [relayFailed, { message: "no queue" }],
    [relayFailed, { message: "idle for 1min" }],
    [handlerFailed, added, handlerError],
  ]);
});

test("events are moved in transactions of about ten megabytes", async () => {
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

test("a queue receives what happened while its worker was away, and other teams ran theirs", async () => {
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

test("a queue keeps what only a newer worker handles, and all of its tries, while an older one runs", async () => {
  const newer = vi.fn();
  await createQuickQueue(boss, "one", { retryLimit: 0 });
  const handlers = { [added]: newer, [deleted]: newer };
  await start({ one: handlers }).then(({ stop }) => stop());
  const { logged, stop } = await start(recording("one", []));
  await publish(pool, deleted, { userId: "u", action: "deleted" });
  const error = new Error(`queue one has no handler for ${deleted} here`);
  await until(() => expect(logged).toEqual([[handlerFailed, deleted, error]]));
  await stop();
  await start({ one: handlers });
  await done();
  expect(newer).toHaveBeenCalledOnce();
});

test("a queue that exists keeps its settings", async () => {
  await createQuickQueue(boss, "one", { retryLimit: 7, expireInSeconds: 300 });
  const before = await boss.getQueue("one");
  await start({ one: {}, created: {} });
  const { retryLimit, expireInSeconds, deadLetter, updatedOn } = before!;
  const kept = { retryLimit, expireInSeconds, deadLetter, updatedOn, heartbeatSeconds: null };
  expect(await boss.getQueue("one")).toMatchObject(kept);
  expect(await boss.getQueue("created")).toMatchObject({
    retryLimit: 20,
    retryBackoff: true,
    expireInSeconds: 60,
    heartbeatSeconds: 10,
    deadLetter: "created.failed",
  });
  expect(await boss.getQueue("created.failed")).toMatchObject({ retentionSeconds: 31_536_000 });
  // How often a worker looks for jobs whose worker has died.
  const query = "select config from pgboss.instance order by started_on desc limit 1";
  const config = { supervise: true, superviseIntervalSeconds: 5, monitorIntervalSeconds: 5 };
  expect((await pool.query(query)).rows).toMatchObject([{ config }]);
});

test("a handler that fails is logged and called again with the same id, and no other is", async () => {
  const failures = [new Error("not yet"), "a text", undefined];
  const [ids, others]: [string[], string[]] = [[], []];
  await createQuickQueue(boss, "one");
  function failing({ userId }: Member, { id }: EventJob) {
    if (userId !== "user_1") others.push(userId);
    else if (ids.push(id) <= failures.length) throw failures[ids.length - 1];
  }
  await addMemberEvents(pool, 3);
  const queues = { one: { [added]: failing }, ...recording("other", others) };
  const { logged } = await start(queues, { concurrency: 3 });
  await done();
  expect(ids).toEqual(Array(4).fill(ids[0]));
  expect(others.sort()).toEqual(["user_1", "user_2", "user_2", "user_3", "user_3"]);
  expect(logged).toEqual(failures.map((failure) => [handlerFailed, added, failure]));
});

test("a handler that takes too long gets its signal, and is called again even if it goes on", async () => {
  await createQuickQueue(boss, "one", { expireInSeconds: 1 });
  const signals: AbortSignal[] = [];
  const hangsOnce = (_: unknown, { signal }: EventJob) =>
    signals.push(signal) === 1 ? new Promise(() => {}) : undefined;
  await addMemberEvents(pool, 2);
  const { logged } = await start({ one: { [added]: hangsOnce } });
  await done();
  expect(signals).toHaveLength(3);
  const error = { message: "the handler took too long", cause: signals[0]!.reason };
  expect(logged).toMatchObject([[handlerFailed, added, error]]);
});

// pg-boss looks for jobs by itself too, which would hide that nobody woke it.
test.each([
  ["this worker", 0, () => addMemberEvents(pool, 9)],
  ["another worker", 1, () => boss.insert("one", jobs(9))],
])(
  "a handler holds up no other if `concurrency` allows, once %s moved its event",
  async (_, polls, add) => {
    const { work } = PgBoss.prototype;
    const spy = vi.spyOn(PgBoss.prototype, "work");
    spy.mockImplementation(function (this: PgBoss, queue, options, handler) {
      const rarely = spy.mock.calls.length > polls && { pollingIntervalSeconds: 3_600 };
      return Reflect.apply(work, this, [queue, { ...options, ...rarely }, handler]);
    });
    const received: string[] = [];
    const handler = ({ userId }: Member) => {
      received.push(userId);
      // Three at once, of which one waits for all others.
      const others = userId === "user_1" ? 9 : 3;
      return until(() => expect(received.length).toBeGreaterThanOrEqual(others));
    };
    await start({ one: { [added]: handler } }, { concurrency: 3 });
    await add();
    await done();
    expect(received.sort()).toEqual(users(9));
  },
);

test("an operator sees what is waiting and what failed, and has it run again", async () => {
  await createQuickQueue(boss, "seat-sync", { retryLimit: 1 });
  const ran: string[] = [];
  const fails = (_: unknown, { id }: EventJob) => {
    ran.push(id);
    throw new Error("no answer", { cause: new Error("connection refused") });
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
  const cause = { message: "connection refused" };
  const output = { message: "no answer", stack: expect.stringContaining("worker.test"), cause };
  expect(failed.map(({ sourceOutput }) => sourceOutput)).toMatchObject([output, output]);
  const rerun: string[] = [];
  await start({ "seat-sync": { [added]: (_, { id }) => rerun.push(id) } });
  await done();
  expect(rerun.filter((id) => ran.includes(id)).sort()).toEqual([...new Set(ran)].sort());
});

test("an operator retires an event of a queue, and a queue", async () => {
  const handlers = { [added]: () => {}, [deleted]: () => {} };
  const queues = { "seat-sync": handlers, "audit-log": handlers };
  await start(queues).then(({ stop }) => stop());

  await boss.unsubscribe("user.deleted", "audit-log");

  await boss.deleteQueue("seat-sync");
  await boss.deleteQueue("seat-sync.failed");

  await addMemberEvents(pool, 1);
  await publish(pool, deleted, { userId: "u", action: "deleted" });
  await start({});
  await until(async () =>
    expect((await pool.query("select from event_outbox.event")).rowCount).toBe(0),
  );
  const { rows } = await pool.query("select name, data ->> 'event' as event from pgboss.job");
  expect(rows).toEqual([{ name: "audit-log", event: added }]);
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

test("a worker that is stopped lets its process end", async () => {
  await addMemberEvents(pool, 1);
  const script = `
      import { startWorker } from "${new URL("worker.ts", import.meta.url)}";
      const handler = () => void worker.stop().then(() => console.log("stopped"));
      const queues = { one: { "${added}": handler } };
      const worker = await startWorker({ databaseUrl: "${databaseUrl}", queues });`;
  const args = ["--import", "tsx", "--input-type=module", "--eval", script];
  expect(await promisify(execFile)(process.execPath, args)).toEqual({
    stdout: "stopped\n",
    stderr: "",
  });
});

test("an error of pg-boss itself is logged, and ends nothing", async () => {
  const { boss, logged } = await start({});
  const error = new Error("the connection broke");
  boss.emit("error", error);
  expect(logged).toEqual([["pg-boss failed:", error]]);
});

test("startWorker fails if a queue drops jobs, and leaves no pg-boss running", async () => {
  const stop = vi.spyOn(PgBoss.prototype, "stop");
  await boss.createQueue("one", { policy: "short" });
  await expect(start({ one: {} })).rejects.toThrow("queue one drops events: it is short");
  expect(stop).toHaveBeenCalledOnce();
});

test("startWorker fails if nothing may run, or pg-boss is too old, and starts none", async () => {
  const { isTimekeeping } = PgBoss.prototype;
  const started = vi.spyOn(PgBoss.prototype, "start");
  await expect(start({}, { concurrency: 0 })).rejects.toThrow("concurrency must be 1 or more");
  afterTest.defer(() => Object.assign(PgBoss.prototype, { isTimekeeping }));
  Reflect.deleteProperty(PgBoss.prototype, "isTimekeeping");
  await expect(start({})).rejects.toThrow("startWorker needs pg-boss 12.35");
  expect(started).not.toHaveBeenCalled();
});
