// @kernia/events 1.0.0: copied from its test/examples/outbox/worker.ts
// Needs Node 22.12 and pg-boss 12.35 or a later 12, but no Better Auth: a worker may know nothing of it.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { Events, Logger } from "@kernia/events";
import { PgBoss, type Job } from "pg-boss";

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
  /** The event's: the same in each retry and in each queue, so that what is done once has a key. */
  readonly id: string;
  readonly event: string;
  /** When the transaction that made the change began. */
  readonly createdAt: Date;
  /** Aborted when the time is up, or the worker stops and waits no longer. */
  readonly signal: AbortSignal;
}

type JobData = { id: string; event: string; payload: unknown; createdAt: string };

export interface WorkerOptions {
  /** Where the outbox is. pg-boss works in the same database, in its schema `pgboss`. */
  databaseUrl: string;
  queues: Queues;
  /** How many jobs of a queue run at the same time, out of order then. One by default. */
  concurrency?: number;
  /** Receives every failure. The global `console` by default. */
  logger?: Logger;
}

const queueSettings = {
  expireInSeconds: 60,
  heartbeatSeconds: 10,
  retryLimit: 20,
  retryBackoff: true,
  retentionSeconds: 365 * 24 * 60 * 60,
};
/** How often pg-boss looks for jobs whose heartbeat has stopped. */
const supervision = { superviseIntervalSeconds: 5, monitorIntervalSeconds: 5 };
const pollingSeconds = 0.5;
/** Gives a try back, and has the job wait at random, so that this worker is not always first again. */
const addTry = `update pgboss.job set retry_limit = retry_limit + 1, retry_backoff = true
  where name = $1 and id = $2`;

/** At most 200 events at a time and about 10 MB of payloads, and at least one event. */
const takeEvents = `
  with locked as (
    select position, octet_length(payload::text) as bytes
    from event_outbox.event order by position limit 200 for update skip locked
  ), sized as (
    select position, sum(bytes) over (order by position) - bytes as bytes_before from locked
  ), taken as (
    delete from event_outbox.event
    where position = any(array(select position from sized where bytes_before < 10000000)) returning *
  )
  select subscription.name as queue, json_agg(json_build_object('data', json_build_object(
    'id', id, 'event', taken.name, 'payload', payload, 'createdAt', created_at
  )) order by position) as jobs
  from taken left join pgboss.subscription on subscription.event = taken.name group by queue`;

/**
 * Moves events from the outbox into the queues that are subscribed to them, and runs jobs of `queues`.
 *
 * Subscriptions are kept in the database, so any worker moves events to the queues of all. A queue
 * receives the events that are moved after its worker first started, also while that worker is away,
 * until you call `boss.unsubscribe(event, queue)` or `boss.deleteQueue(queue)`. A job whose event has no
 * handler here is retried, without using up a try: another version of the worker may have one.
 * A queue that exists keeps its settings; `boss.updateQueue` changes them. A job that failed for the
 * last time is kept in the queue `NAME.failed`; `boss.redrive` runs it again.
 *
 * @returns the pg-boss that it started, for what else pg-boss can do, and `stop`, which stops that too
 * once the jobs under way are done; those that take longer than 30 seconds go back to their queues.
 */
export async function startWorker({
  databaseUrl,
  queues,
  concurrency = 1,
  logger = console,
}: WorkerOptions): Promise<{ boss: PgBoss; stop(): Promise<void> }> {
  if (!(concurrency >= 1)) throw new RangeError("concurrency must be 1 or more");
  const boss = new PgBoss({ connectionString: databaseUrl, schedule: false, ...supervision });
  // Came with what this relies on: a worker that lost its job to another one cannot end it.
  if (!("isTimekeeping" in boss)) throw new Error("startWorker needs pg-boss 12.35 or a later 12");
  boss.on("error", (error) => log("pg-boss failed:", error));
  const workers: string[] = [];
  try {
    await boss.start();
    for (const [queue, handlers] of Object.entries(queues)) {
      await createQueue(queue);
      for (const event of Object.keys(handlers)) await boss.subscribe(event, queue);
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

  async function createQueue(name: string): Promise<void> {
    const deadLetter = `${name}.failed`;
    await boss.createQueue(deadLetter, queueSettings);
    await boss.createQueue(name, { ...queueSettings, deadLetter });
    const { policy } = (await boss.getQueue(name))!;
    if (policy !== "standard") throw new Error(`queue ${name} drops events: it is ${policy}`);
  }

  /** As many workers as run at the same time. `localConcurrency` would tell the id of one only. */
  async function work(queue: string): Promise<void> {
    const ids: string[] = [];
    for (let index = 0; index < concurrency; index++) {
      // The others are woken; they poll, less often, for when the first is busy.
      const pollingIntervalSeconds = index === 0 ? pollingSeconds : 2;
      ids[index] = await boss.work<JobData>(queue, { pollingIntervalSeconds }, ([job]) => {
        // Where there was one job, there may be more: for this worker, once it is done, and the next.
        for (const next of [index, (index + 1) % concurrency]) boss.notifyWorker(ids[next]!);
        return run(queue, job!);
      });
    }
    workers.push(...ids);
  }

  /** Rejects if the job failed: pg-boss keeps the error, with its stack and its cause. */
  async function run(queue: string, { id, data, signal }: Job<JobData>): Promise<void> {
    try {
      const { payload, createdAt, ...rest } = data;
      // The keys of `queues` tie each handler to its payload; a name that comes from a table cannot.
      const handler = queues[queue]![rest.event as keyof Events] as
        ((payload: unknown, job: EventJob) => unknown) | undefined;
      if (!handler) {
        await boss.getDb().executeSql(addTry, [queue, id]);
        throw new Error(`queue ${queue} has no handler for ${rest.event} here`);
      }
      await Promise.race([
        handler(payload, { ...rest, createdAt: new Date(createdAt), signal }),
        // pg-boss would go on waiting for a handler that hangs, and run no other in its place.
        once(signal, "abort"),
      ]);
      if (signal.aborted) throw new Error("the handler took too long", { cause: signal.reason });
    } catch (error) {
      log("Event handler failed:", data?.event, error);
      throw error;
    }
  }

  /** Moves events from the outbox until the signal. */
  async function relay(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const moved = await moveEvents().catch((error: unknown) =>
        log("The outbox relay failed and will retry:", error),
      );
      if (moved) for (const worker of workers) boss.notifyWorker(worker);
      else await sleep(pollingSeconds * 1_000, undefined, { signal }).catch(() => {});
    }
  }

  /** Takes events from the outbox and adds their jobs to the queues, both or neither. */
  async function moveEvents(): Promise<boolean> {
    const { db, commit, rollback } = await boss.getDb().beginTransaction!();
    try {
      // If this machine vanishes, another relay gets its rows.
      await db.executeSql("set local idle_in_transaction_session_timeout = '60s'");
      const { rows } = await db.executeSql(takeEvents);
      for (const { queue, jobs } of rows) {
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
