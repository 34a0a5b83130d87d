import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startDecoding } from "../fixtures/decoded-changes";
import { createOutboxDatabase, untilAllDone } from "../fixtures/outbox";
import { startEmbeddedPostgres } from "../fixtures/postgres";
import { dim, green, heading, red, table } from "../fixtures/print";
import { runDemo } from "../fixtures/run-demo";
import { createTemporaryFolder } from "../fixtures/temporary-folder";
import type { StandardEvent } from "../membership-changes/expected";
import { compare, eventsOf } from "./compare";
import { changeByRoutes, changeBySql, populate } from "./random-changes";
import { startRestartedProcess } from "./restarted-process";
import { createRandom } from "./seeded-random";
import type { Subscriptions } from "./worker-process";

const { values } = parseArgs({
  options: {
    // For how long to change and to kill.
    seconds: { type: "string", default: "60" },
    // Makes the choices the same, but not the moments.
    seed: { type: "string", default: String(Date.now()) },
  },
});
const seconds = Number(values.seconds);
if (!(seconds > 0)) throw new Error("--seconds must be a number above 0");

/** Each team runs workers of its own, which do not name the queues of the other. */
const billing: Subscriptions = {
  seats: ["organization.member.added", "organization.member.removed"],
  roles: ["organization.member.updated"],
};
const security: Subscriptions = {
  audit: [...billing["seats"]!, ...billing["roles"]!, "user.deleted"],
  offboarding: ["user.deleted"],
};
const queues = Object.entries({ ...billing, ...security });

await runDemo(async (defer) => {
  const postgres = await startEmbeddedPostgres(defer);
  const { databaseUrl, pool } = await createOutboxDatabase(defer, { serverUrl: postgres.url });
  await pool.query("create table handled (queue text, event text, payload jsonb, job text)");
  await populate(pool);

  const logFile = join(await createTemporaryFolder(defer), "log");
  const log = openSync(logFile, "a");
  const start = (file: string, env = {}) => {
    const options = { env: { DATABASE_URL: databaseUrl, STRIPE_PORT: "1", ...env }, defer, log };
    return startRestartedProcess(new URL(file, import.meta.url), options);
  };
  const startWorker = (subscriptions: Subscriptions) =>
    start("worker-process.ts", { SUBSCRIPTIONS: JSON.stringify(subscriptions) });
  const authServer = "../demo/queue-auth-server.ts";
  const servers = [await start(authServer), await start(authServer)];
  const workers = await Promise.all([billing, billing, security].map(startWorker));
  const decoding = await startDecoding(pool);

  heading(`${seconds} seconds of changes and kills, seed ${values.seed}`);
  const signal = AbortSignal.timeout(seconds * 1_000);
  const random = createRandom(values.seed);
  const repeat = async (change: () => Promise<void>) => {
    while (!signal.aborted) {
      await change().catch(() => {});
      await sleep(random.between(50, 250));
    }
  };
  const bySql = () => changeBySql(pool, random);
  const byRoutes = () => changeByRoutes(random.pick(servers).url, random);
  const kills = new Map<string, number>();
  await Promise.all([killAtRandom(), ...[bySql, bySql, byRoutes, byRoutes].map(repeat)]);
  await untilAllDone(pool).catch((error: Error) => console.log(red(error.message)));
  for (const { stop } of [...servers, ...workers]) stop();

  const expected = eventsOf(await decoding.takeTransactions());
  const { rows: jobs } = await pool.query<{ queue: string; emitted: StandardEvent }>(
    "select distinct queue, jsonb_build_array(event, payload) as emitted, job from handled",
  );
  console.log(
    dim(`  killed: ${[...kills].map(([name, times]) => `${times} × ${name}`).join(", ")}`),
  );
  let right = expected.length > 0;
  for (const [queue, events] of queues) {
    const comparison = compare(
      expected.filter(([event]) => events.some((name) => name === event)),
      jobs.filter((job) => job.queue === queue).map(({ emitted }) => emitted),
    );
    table({ [queue.padEnd(11)]: "", ...comparison });
    right &&= comparison.lost + comparison.doubled + comparison.false === 0;
  }
  if (!right) console.log(dim(readFileSync(logFile, "utf8").slice(-10_000)));
  console.log(right ? green("Each event became one job in each queue.") : red("It did not."));
  return right;

  /** Kills one after another until the signal, and counts them. In the end, all run. */
  async function killAtRandom(): Promise<void> {
    const ways: [share: number, name: string, kill: () => Promise<unknown>][] = [
      [4, "a worker", () => random.pick(workers).kill()],
      [3, "an auth server", () => random.pick(servers).kill()],
      [4, "a connection", async () => process.kill(await findConnection())],
      // On a busy machine, it may take longer than this waits.
      [1, "PostgreSQL", () => postgres.stop().catch(() => sleep(1_000))],
      // PostgreSQL then ends all its other processes, and recovers from its log.
      [1, "a process of PostgreSQL", crashPostgres],
    ];
    const choices = ways.flatMap(([share, ...way]) => Array<typeof way>(share).fill(way));
    while (!signal.aborted) {
      await sleep(random.between(200, 1_200));
      const [name, kill] = random.pick(choices);
      // It fails if what it kills is not running at the moment.
      await kill().then(
        () => kills.set(name, (kills.get(name) ?? 0) + 1),
        () => {},
      );
      await untilPostgresAnswers();
    }

    async function crashPostgres(): Promise<void> {
      process.kill(await findConnection(), "SIGKILL");
      // By then, it no longer answers, or answers again.
      await sleep(1_000);
    }

    async function findConnection(): Promise<number> {
      const { rows } = await pool.query(`
        select pid from pg_stat_activity where datname = current_database()
        and backend_type = 'client backend' and pid <> pg_backend_pid() order by pid`);
      return random.pick(rows).pid;
    }
  }

  /** Starts PostgreSQL unless it runs. */
  async function untilPostgresAnswers(): Promise<void> {
    while (!(await pool.query("select 1").catch(() => false))) {
      await postgres.startAgain().catch(() => sleep(100));
    }
  }
});
