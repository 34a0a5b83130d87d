import { randomInt } from "node:crypto";
import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startChild } from "../fixtures/child";
import type { Defer } from "../fixtures/deferred";
import { createOutboxDatabase, untilAllDone } from "../fixtures/outbox";
import { startEmbeddedPostgres } from "../fixtures/postgres";
import { dim, green, heading, red, table } from "../fixtures/print";
import { createTemporaryFolder } from "../fixtures/temporary-folder";
import { sorted, type StandardEvent, type StandardEventName } from "../membership-changes/expected";
import { startDecoding } from "./committed-events";
import { changeBySql, pick, populate } from "./random-changes";

/** The events of each queue. A worker has one of the queues, and does not name the other. */
const queues: Record<string, readonly StandardEventName[]> = {
  seats: ["organization.member.added", "organization.member.removed"],
  audit: ["organization.member.added", "organization.member.updated", "user.deleted"],
};

/**
 * Changes members and users while workers, connections and PostgreSQL are killed, and compares the jobs
 * with what PostgreSQL's log says was committed.
 */
export async function killAtRandom(seconds: number, defer: Defer): Promise<boolean> {
  const postgres = await startEmbeddedPostgres(defer);
  const { databaseUrl, pool } = await createOutboxDatabase(defer, { serverUrl: postgres.url });
  await pool.query("create table handled (queue text, event text, payload jsonb, id text)");
  await populate(pool);

  const logFile = join(await createTemporaryFolder(defer), "log");
  const log = openSync(logFile, "a");
  const stopping = new AbortController();
  const workers = new Set<Awaited<ReturnType<typeof startChild>>>();
  await Promise.all(["seats", "seats", "audit"].map(startWorker));
  const takeEvents = await startDecoding(pool);

  heading(`${seconds} seconds of changes and kills`);
  const signal = AbortSignal.timeout(seconds * 1_000);
  const kills = new Map<string, number>();
  await Promise.all([kill(), ...Array.from({ length: 4 }, change)]);
  await untilAllDone(pool).catch((error: Error) => console.log(red(error.message)));
  stopping.abort();

  const expected = await takeEvents();
  // A handler that was called again for an event has the same id.
  const { rows: jobs } = await pool.query<{ queue: string; emitted: StandardEvent; calls: string }>(
    `select queue, jsonb_build_array(event, payload) as emitted, count(*) as calls
    from handled group by queue, event, payload, id`,
  );
  console.log(
    dim(`  killed: ${[...kills].map(([name, times]) => `${times} × ${name}`).join(", ")}`),
  );
  let right = expected.length > 0;
  for (const [queue, events] of Object.entries(queues)) {
    const own = jobs.filter((job) => job.queue === queue);
    const comparison = compare(
      expected.filter(([event]) => events.some((name) => name === event)),
      own.map(({ emitted }) => emitted),
    );
    const repeated = own.reduce((sum, { calls }) => sum + Number(calls) - 1, 0);
    table({ [queue.padEnd(11)]: "", ...comparison, repeated });
    right &&= comparison.lost + comparison.doubled + comparison.false === 0;
  }
  if (!right) console.log(dim(readFileSync(logFile, "utf8").slice(-10_000)));
  console.log(right ? green("Each event became one job in each queue.") : red("It did not."));
  return right;

  /** Kills one after another until the signal, and counts them. In the end, all run. */
  async function kill(): Promise<void> {
    const often: [name: string, kill: () => Promise<unknown>][] = [
      ["a worker", async () => pick([...workers]).kill()],
      ["a connection", async () => process.kill(await findConnection())],
    ];
    const seldom: typeof often = [
      // On a busy machine, it may take longer than this waits.
      ["PostgreSQL", () => postgres.stop().catch(() => sleep(1_000))],
      // PostgreSQL then ends all its other processes, and recovers from its log.
      ["a process of PostgreSQL", crashPostgres],
    ];
    while (!signal.aborted) {
      await sleep(randomInt(200, 1_200));
      const [name, killOne] = pick(randomInt(5) === 0 ? seldom : often);
      await killOne().then(
        () => kills.set(name, (kills.get(name) ?? 0) + 1),
        // Nothing of the kind is running at the moment.
        () => {},
      );
      while (!(await pool.query("select 1").catch(() => false))) {
        await postgres.startAgain().catch(() => sleep(100));
      }
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
      return pick(rows).pid;
    }
  }

  async function change(): Promise<void> {
    while (!signal.aborted) {
      await changeBySql(pool).catch(() => {});
      await sleep(randomInt(50, 250));
    }
  }

  /** Starts a worker, and until `stopping` another whenever it ends. */
  async function startWorker(queue: string): Promise<void> {
    const module = new URL("worker-process.ts", import.meta.url);
    const events = JSON.stringify(queues[queue]);
    const env = { DATABASE_URL: databaseUrl, QUEUE: queue, EVENTS: events };
    const worker = await startChild(module, { env, defer, log });
    workers.add(worker);
    void worker.exited.then(() => {
      workers.delete(worker);
      return startAnother(queue);
    });
  }

  async function startAnother(queue: string): Promise<void> {
    await sleep(2_000 * Math.random(), undefined, { ref: false });
    // It does not start while PostgreSQL is away.
    if (!stopping.signal.aborted) await startWorker(queue).catch(() => startAnother(queue));
  }
}

/**
 * Compares events whatever their order: how many were expected more often than emitted, emitted more
 * often than expected, and emitted without being expected at all.
 */
function compare(expected: readonly StandardEvent[], emitted: readonly StandardEvent[]) {
  const comparison = { lost: 0, doubled: 0, false: 0 };
  const missing = new Map<string, number>();
  for (const event of sorted(expected)) missing.set(event, (missing.get(event) ?? 0) + 1);
  for (const event of sorted(emitted)) {
    const times = missing.get(event);
    if (times === undefined) comparison.false++;
    else if (times === 0) comparison.doubled++;
    else missing.set(event, times - 1);
  }
  for (const times of missing.values()) comparison.lost += times;
  return { expected: expected.length, emitted: emitted.length, ...comparison };
}
