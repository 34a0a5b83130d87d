// @kernia/events 1.0.0: copied from its test/examples/outbox/worker.ts
// Needs no Better Auth: a worker may be a process that knows nothing of it. Needs Node 22.12 and pg-boss 12.

import { setTimeout as sleep } from "node:timers/promises";
import type { Events, Logger } from "@kernia/events";
import { PgBoss, type Job, type JobResult } from "pg-boss";

/**
 * A queue for each handler, or for handlers that succeed and fail together, with the events that it is
 * for. Handlers are the same as those of `bus.on`.
 */
export interface Queues {
  readonly [queue: string]: {
    readonly [Name in keyof Events]?: (payload: Events[Name], job: EventJob) => unknown;
  };
}

/** What a handler receives beside the payload. */
export interface EventJob {
  /** Stays the same when the job is retried, so that a row that must be written once has a key. */
  readonly id: string;
  readonly event: string;
  /** When the transaction that made the change began. */
  readonly createdAt: Date;
}

/** What a job holds. Its id is kept here as well, for pg-boss gives a failed job a new one. */
type JobData = { id: string; event: string; payload: unknown; createdAt: string };

export interface WorkerOptions {
  /** Where the outbox is. pg-boss works in the same database, in its schema `pgboss`. */
  databaseUrl: string;
  queues: Queues;
  /** How many jobs of a queue are fetched and run together, out of order then. One by default. */
  concurrency?: number;
  /** Receives every failure. The global `console` by default. */
  logger?: Logger;
}

/** How long a handler may take, in queues that `startWorker` creates. */
const timeLimitSeconds = 60;
/** pg-boss's own time limit comes later, for it fails all the jobs that were fetched together. */
const marginSeconds = 5;
const queueSettings = {
  expireInSeconds: timeLimitSeconds + marginSeconds,
  heartbeatSeconds: 10,
  retryLimit: 20,
  retryBackoff: true,
  retentionSeconds: 365 * 24 * 60 * 60,
};
/** How often pg-boss looks for jobs whose heartbeat has stopped. */
const supervision = { superviseIntervalSeconds: 5, monitorIntervalSeconds: 5 };
const pollingIntervalSeconds = 0.5;

/** At most 200 events at a time and about 10 MB of payloads, and at least one event. */
const takeEvents = `
  with locked as (
    select id, octet_length(payload::text) as bytes
    from event_outbox order by id limit 200 for update skip locked
  ), sized as (
    select id, sum(bytes) over (order by id) - bytes as bytes_before from locked
  ), taken as (
    delete from event_outbox
    where id = any(array(select id from sized where bytes_before < 10000000)) returning *
  )
  select name as queue, json_build_object(
    'id', gen_random_uuid(), 'event', event, 'payload', payload, 'createdAt', created_at
  ) as data
  from taken left join pgboss.subscription using (event) order by taken.id`;

const unsubscribe = "delete from pgboss.subscription where name = $1 and event <> all($2)";

/**
 * Moves events from the outbox into the queues that are subscribed to them, and runs jobs of `queues`.
 *
 * Subscriptions are kept in the database, so any worker moves events to the queues of all. A queue
 * receives the events that are moved after its worker first started, also while that worker is away.
 * When a worker starts, its queues are unsubscribed from events that it no longer names: of two
 * versions, the last to start decides. The queues of others are left alone.
 *
 * A queue that exists keeps its settings; `boss.updateQueue` changes them. A job that failed for the
 * last time is kept in the queue `NAME.failed`; `boss.redrive` runs it again.
 *
 * @returns the pg-boss that it started, for what else pg-boss can do, and `stop`, which stops that too
 * once the jobs under way are done; those that take longer than 30 seconds go back to their queues.
 */
export async function startWorker({
  databaseUrl,
  queues,
  concurrency: batchSize = 1,
  logger = console,
}: WorkerOptions): Promise<{ boss: PgBoss; stop(): Promise<void> }> {
  const boss = new PgBoss({ connectionString: databaseUrl, schedule: false, ...supervision });
  boss.on("error", (error) => log("pg-boss failed:", error));
  const workers: string[] = [];
  try {
    await boss.start();
    for (const [queue, handlers] of Object.entries(queues)) {
      await createQueue(queue);
      const events = Object.keys(handlers);
      for (const event of events) await boss.subscribe(event, queue);
      await boss.getDb().executeSql(unsubscribe, [queue, events]);
      await work(queue);
    }
  } catch (error) {
    await boss.stop({ graceful: false });
    throw error;
  }
  const stopping = new AbortController();
  const relayed = relay(stopping.signal);

  return {
    boss,
    async stop() {
      stopping.abort();
      await relayed;
      await boss.stop();
    },
  };

  /** Leaves a queue that exists as it is. */
  async function createQueue(name: string): Promise<void> {
    const deadLetter = `${name}.failed`;
    await boss.createQueue(deadLetter, queueSettings);
    await boss.createQueue(name, { ...queueSettings, deadLetter });
    const queue = await boss.getQueue(name);
    if (queue?.policy === "standard") return;
    throw new Error(`queue ${name} has the policy ${queue?.policy}, which would drop events`);
  }

  async function work(queue: string): Promise<void> {
    const options = { batchSize, perJobResults: true, pollingIntervalSeconds } as const;
    const worker: string = await boss.work<JobData>(queue, options, (jobs) => {
      // It fetches more as soon as these are done.
      boss.notifyWorker(worker);
      return Promise.all(jobs.map((job) => run(queue, job)));
    });
    workers.push(worker);
  }

  /** Runs one of the jobs that were fetched together, whatever becomes of the others. */
  async function run(queue: string, job: Job<JobData>): Promise<JobResult> {
    try {
      const { payload, createdAt, ...rest } = job.data;
      // The keys of `queues` tie each handler to its payload; a name that comes from a table cannot.
      const handler = queues[queue]![rest.event as keyof Events] as
        ((payload: unknown, job: EventJob) => unknown) | undefined;
      // Another version of the worker may have one.
      if (!handler) throw new Error(`queue ${queue} has no handler for ${rest.event} here`);
      const seconds = Math.max(1, job.expireInSeconds - marginSeconds);
      await Promise.race([
        handler(payload, { ...rest, createdAt: new Date(createdAt) }),
        sleep(seconds * 1_000, undefined, { signal: job.signal }).then(() => {
          throw new Error(`the handler took longer than ${seconds} seconds`);
        }),
      ]);
      return { id: job.id, status: "completed" };
    } catch (error) {
      log("Event handler failed:", job.data?.event, error);
      return { id: job.id, status: "failed", output: { message: String(error) } };
    }
  }

  /** Moves events from the outbox until the signal. */
  async function relay(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const moved = await moveEvents().catch((error: unknown) =>
        log("The outbox relay failed and will retry:", error),
      );
      if (moved) for (const worker of workers) boss.notifyWorker(worker);
      else await sleep(pollingIntervalSeconds * 1_000, undefined, { signal }).catch(() => {});
    }
  }

  /** Takes events from the outbox and adds their jobs to the queues, both or neither. */
  async function moveEvents(): Promise<boolean> {
    // It is there wherever pg-boss connects by itself.
    const { db, commit, rollback } = await boss.getDb().beginTransaction!();
    try {
      // If this machine vanishes, another relay gets its rows.
      await db.executeSql("set local idle_in_transaction_session_timeout = '60s'");
      const { rows } = await db.executeSql(takeEvents);
      for (const queue of new Set<string | null>(rows.map((row) => row.queue))) {
        const jobs = rows.filter((row) => row.queue === queue);
        // Events without a subscribed queue are dropped.
        if (queue !== null) await boss.insert(queue, jobs, { db });
      }
      await commit();
      return rows.length > 0;
    } finally {
      // Does nothing after the commit.
      await rollback();
    }
  }

  /** A logger that throws or rejects stops nothing. */
  function log(message: string, ...details: unknown[]): void {
    void (async () => logger.error(message, ...details))().catch(() => {});
  }
}
