import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type pg from "pg";
import { startDecoding } from "../fixtures/decoded-changes";
import { createOutboxDatabase } from "../fixtures/outbox";
import { startEmbeddedPostgres } from "../fixtures/postgres";
import { dim, green, heading, red, table } from "../fixtures/print";
import { runDemo } from "../fixtures/run-demo";
import { judge, owedFor, type Told, type Verdict } from "./judge";
import { killAtRandom } from "./killer";
import { loadByRoutes } from "./load-routes";
import { loadBySql, populate } from "./load-sql";
import { createRandom } from "./random";
import { Service } from "./service";
import { subscriptions, type TeamName } from "./teams";

const { values: options } = parseArgs({
  options: {
    // For how long to change and to kill.
    seconds: { type: "string", default: "60" },
    // Makes the choices the same, but not the moments.
    seed: { type: "string", default: String(Date.now()) },
  },
});
const seconds = Number(options.seconds);
if (!(seconds > 0)) throw new Error("--seconds must be a number above 0");
const { seed } = options;

/** The longest that the workers may take for what is left in the end. */
const mostMinutesLeft = 5;

await runDemo(async (defer) => {
  const postgres = await startEmbeddedPostgres(defer);
  const { databaseUrl, pool } = await createOutboxDatabase(defer, { serverUrl: postgres.url });
  await pool.query("create table handled (queue text, event text, payload jsonb, job text)");
  await populate(pool);

  const errors = new Map<string, number>();
  const start = (file: string, name: string, env = {}) => {
    const random = createRandom(`${seed} ${name}`);
    return Service.start({
      module: new URL(file, import.meta.url),
      env: { DATABASE_URL: databaseUrl, SEED: `${seed} ${name}`, ...env },
      defer,
      pause: () => random.between(0, 2_000),
      onError: (text) => errors.set(text, (errors.get(text) ?? 0) + 1),
    });
  };
  const startWorker = (TEAM: TeamName, name: string) => start("worker.ts", name, { TEAM });
  const [servers, workers] = await Promise.all([
    Promise.all(["first server", "second server"].map((name) => start("auth-server.ts", name))),
    Promise.all([
      startWorker("billing", "first of billing"),
      startWorker("billing", "second of billing"),
      startWorker("security", "one of security"),
    ]),
  ]);
  try {
    const decoding = await startDecoding(pool);

    heading(`${seconds} seconds of changes and kills, seed ${seed}`);
    const signal = AbortSignal.timeout(seconds * 1_000);
    const random = (name: string) => createRandom(`${seed} ${name}`);
    const [kills] = await Promise.all([
      killAtRandom({ servers, workers, pool, postgres }, random("killer"), signal),
      loadBySql(pool, random("first by SQL"), signal),
      loadBySql(pool, random("second by SQL"), signal),
      loadByRoutes(servers, random("first by routes"), signal),
      loadByRoutes(servers, random("second by routes"), signal),
    ]);
    const left = await untilAllDone(pool);

    const owed = owedFor(await decoding.takeTransactions());
    const jobs = await readJobs(pool);
    const verdict: Verdict = { lost: 0, doubled: 0, false: 0 };
    for (const [queue, events] of Object.entries(subscriptions)) {
      const owedToQueue = owed.filter(({ event }) => events.some((name) => name === event));
      const ofQueue = judge(owedToQueue, jobs.get(queue)!);
      const { lost, doubled, false: wrong } = ofQueue;
      console.log(
        dim(
          `  ${queue}: ${owedToQueue.length} owed, ${lost} lost, ${doubled} doubled, ${wrong} false`,
        ),
      );
      verdict.lost += lost;
      verdict.doubled += doubled;
      verdict.false += wrong;
    }

    const { servers: ofServers, workers: ofWorkers, connections, postgres: ofPostgres } = kills;
    console.log(
      dim(
        `  killed: ${ofServers} × an auth server, ${ofWorkers} × a worker, ` +
          `${connections} × a connection, ${ofPostgres} × PostgreSQL`,
      ),
    );
    if (left > 0)
      console.log(red(`  ${left} events and jobs were left after ${mostMinutesLeft} minutes`));
    table({
      events: owed.length,
      jobs: [...jobs.values()].flat().length,
      kills: ofServers + ofWorkers + connections + ofPostgres,
      ...verdict,
    });
    const good =
      owed.length > 0 && left === 0 && Object.values(verdict).every((count) => count === 0);
    if (!good)
      for (const [text, times] of errors) console.log(dim(`  ${times} × ${text.slice(0, 200)}`));
    console.log(good ? green("Each change was told once to each queue.") : red("It was not."));
    return good;
  } finally {
    for (const service of [...servers, ...workers]) service.stop();
  }
});

/** Returns what is left in the outbox and in the queues once nothing is, or time is up. */
async function untilAllDone(pool: pg.Pool): Promise<number> {
  const deadline = Date.now() + mostMinutesLeft * 60_000;
  for (;;) {
    const { rows } = await pool.query<{ left: number }>(
      `
      select (select count(*) from event_outbox)::int +
        (select count(*) from pgboss.job where state < 'completed' and name = any($1))::int as left`,
      [Object.keys(subscriptions)],
    );
    const { left } = rows[0]!;
    if (left === 0 || Date.now() > deadline) return left;
    await sleep(200);
  }
}

/** The jobs of each queue, with what their handlers got. One that ran twice is one. */
async function readJobs(pool: pg.Pool): Promise<Map<string, Told[]>> {
  const { rows } = await pool.query<Told & { queue: string }>(
    "select queue, event, payload from (select distinct * from handled) as jobs",
  );
  const jobs = new Map(Object.keys(subscriptions).map((queue) => [queue, [] as Told[]]));
  for (const { queue, ...told } of rows) jobs.get(queue)!.push(told);
  return jobs;
}
