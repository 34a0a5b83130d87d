import { setTimeout as sleep } from "node:timers/promises";
import type { EventName } from "@kernia/events";
import type pg from "pg";
import PgBoss10 from "pg-boss";
import PgBoss11 from "pg-boss-11";
import { PgBoss as PgBoss12 } from "pg-boss-12";
import { withDeferred, type Defer } from "../fixtures/deferred";
import {
  addMemberEvents,
  createOutboxDatabase,
  findFailedJobs,
  untilAllDone,
  watchOutbox,
} from "../fixtures/outbox";
import {
  retryFailed,
  startWorker,
  type Boss,
  type EventJob,
  type Queues,
} from "../examples/outbox/worker";

// Each of the three classes fits, without a cast.
const versions: Record<string, (url: string) => Promise<Boss>> = {
  "10": (url) => started(new PgBoss10({ connectionString: url, schedule: false })),
  "11": (url) => started(new PgBoss11({ connectionString: url, schedule: false })),
  "12": (url) => started(new PgBoss12({ connectionString: url, schedule: false })),
};
const startBoss = versions[process.argv[2]!]!;
const added: EventName = "organization.member.added";

await withDeferred(async (defer) => {
  await retriesAndFailures(defer);
  await twoTeams(defer);
  await throughput(defer);
});

async function started(boss: Boss & { start(): Promise<unknown> }): Promise<Boss> {
  boss.on("error", () => {});
  await boss.start();
  return boss;
}

async function createStart(defer: Defer) {
  const { databaseUrl, pool } = await createOutboxDatabase(defer);
  const logger = { error: () => {} };
  async function start(queues: Queues, options: { retryLimit?: number } = {}) {
    const boss = await startBoss(databaseUrl);
    const worker = await startWorker({ databaseUrl, boss, queues, logger, ...options });
    return { boss, stop: worker.stop };
  }
  return { databaseUrl, pool, start };
}

async function retriesAndFailures(defer: Defer): Promise<void> {
  const { databaseUrl, pool, start } = await createStart(defer);
  const ran: EventJob[] = [];
  let failures = 3;
  const queues: Queues = {
    one: {
      [added](_: unknown, job: EventJob) {
        ran.push(job);
        if (failures-- > 0) throw new Error("not yet");
      },
    },
  };
  const { boss, stop } = await start(queues, { retryLimit: 2 });
  const failed = async () =>
    (await pool.query(findFailedJobs)).rows.map(({ id, error }) => [id, error]);
  await addMemberEvents(pool, 1);
  await until(async () => (await failed()).length === 1);
  equal(ran, Array(3).fill(ran[0]), "is tried three times, as the same job");
  equal(await failed(), [[ran[0]!.id, "Error: not yet"]], "is found among the failed ones");
  equal(await waiting(pool), { event_outbox: 0, one: 0, "one.failed": 1 }, "is seen as failed");
  const { rows } = await pool.query(
    "select keep_until > now() + interval '364 days' as kept from pgboss.job where name = 'one.failed'",
  );
  equal(rows, [{ kept: true }], "is kept for a year");

  equal(await retryFailed({ databaseUrl, boss, queue: "one" }), 1, "is run again by a call");
  await untilAllDone(pool);
  equal(ran[3], ran[0], "runs again as the same job");
  equal(await failed(), [], "is no longer among the failed ones");
  await stop();
}

async function twoTeams(defer: Defer): Promise<void> {
  const { pool, start } = await createStart(defer);
  const seen: Record<string, number> = { ours: 0, theirs: 0 };
  const team = (queue: string): Queues => ({ [queue]: { [added]: () => void seen[queue]!++ } });
  const away = await start(team("ours"));
  await away.stop();
  const others = await start(team("theirs"));
  await addMemberEvents(pool, 20);
  await until(async () => seen["theirs"] === 20);
  equal(seen["ours"], 0, "a team that is away is not served");
  const { ours: unserved } = await waiting(pool);
  equal(unserved, 20, "who was not served is seen");
  const back = await start(team("ours"));
  await untilAllDone(pool);
  equal(seen, { ours: 20, theirs: 20 }, "a team that comes back finds everything");
  const { rows } = await pool.query(
    "select bool_and(keep_until > now() + interval '364 days') as kept from pgboss.job",
  );
  equal(rows, [{ kept: true }], "what has not run is kept for a year");
  await Promise.all([others.stop(), back.stop()]);
}

async function throughput(defer: Defer): Promise<void> {
  const { pool, start } = await createStart(defer);
  const queues = { one: { [added]: () => {} }, other: { [added]: () => {} } };
  await (await start(queues)).stop();
  const rates: string[] = [];
  for (const count of [1_000, 10_000, 100_000]) {
    const { stop } = await start({ idle: {} });
    await addMemberEvents(pool, count);
    const begin = performance.now();
    await until(async () => (await rowsIn(pool, "event_outbox")) === 0);
    rates.push(`${Math.round(count / ((performance.now() - begin) / 1_000))} at ${count}`);
    await stop();
    equal(await rowsIn(pool, "pgboss.job"), 2 * count, `has two jobs for each of ${count} events`);
    await pool.query("delete from pgboss.job");
  }
  console.log(`events a second to two queues: ${rates.join(", ")}`);
}

async function waiting(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query(watchOutbox);
  const counts = rows.map(({ name, count }) => [name, Number(count)]);
  return Object.fromEntries(counts.sort(([one], [other]) => (one < other ? -1 : 1)));
}

async function rowsIn(pool: pg.Pool, table: string): Promise<number> {
  return (await pool.query(`select count(*)::int as count from ${table}`)).rows[0].count;
}

async function until(fits: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 240_000;
  while (!(await fits())) {
    if (Date.now() > deadline) throw new Error("it took longer than four minutes");
    await sleep(20);
  }
}

function equal(found: unknown, expected: unknown, what: string): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${what}: expected ${other}, found ${one}`);
}
