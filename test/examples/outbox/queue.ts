import type { Events, Logger } from "@kernia/events";
import type PgBoss from "pg-boss";
import type { ClientBase } from "pg";
import { randomUUID } from "node:crypto";
import type { OutboxEvent } from "./relay";

/**
 * A queue for each handler, or for handlers that succeed and fail together, and in it the events
 * that it is for. A handler as `bus.on` takes it will do; it also gets the id of its job, which stays
 * the same when the job is retried.
 */
export interface Queues {
  readonly [queue: string]: {
    readonly [Name in keyof Events]?: (payload: Events[Name], jobId: string) => unknown;
  };
}

interface QueuedEvent {
  readonly event: string;
  readonly payload: unknown;
}

export interface QueueOptions {
  /** After how many seconds a job whose worker died, or hangs, goes to the next. */
  expireInSeconds?: number;
  /** How many times a job is tried again, after `retryDelay` seconds, then twice as long, and so on. */
  retryLimit?: number;
  retryDelay?: number;
}

/** Creates the queues that are not there yet. Twenty retries take two to four days. */
export async function createQueues(
  boss: PgBoss,
  queues: Queues,
  { expireInSeconds = 60, retryLimit = 20, retryDelay = 1 }: QueueOptions = {},
): Promise<void> {
  for (const name of Object.keys(queues)) {
    const options = { name, expireInSeconds, retryLimit, retryDelay, retryBackoff: true };
    await boss.createQueue(name, options);
  }
}

/** Adds a job for each event to each queue that is for it, in the transaction of `client`. */
export async function addJobs(
  boss: PgBoss,
  queues: Queues,
  events: readonly OutboxEvent[],
  client: ClientBase,
): Promise<void> {
  for (const [queue, handlers] of Object.entries(queues)) {
    const jobs = events
      .filter(({ event }) => Object.hasOwn(handlers, event))
      .map(({ event, payload }, index) => ({
        name: queue,
        id: sortedId(index),
        data: { event, payload },
      }));
    if (jobs.length === 0) continue;

    let added: number | null = 0;
    const db = {
      async executeSql(text: string, values?: unknown[]) {
        const result = await client.query(text, values);
        added = result.rowCount;
        return result;
      },
    };
    // From pg-boss 11 on, `boss.insert(queue, jobs, { db })`.
    await boss.insert(jobs, { db });
    // pg-boss 10 says nothing when there is no such queue.
    if (added !== jobs.length) {
      throw new Error(`queue ${queue} took ${added} of ${jobs.length} jobs: does it exist?`);
    }
  }
}

/** pg-boss sorts jobs of one transaction by their ids. */
function sortedId(index: number): string {
  return index.toString(16).padStart(8, "0") + randomUUID().slice(8);
}

/**
 * Works off the queues, each on its own: `concurrency` jobs at once, or by default one after another
 * in their order. A failure is logged, and that job is retried.
 *
 * @returns a function that has the workers look for jobs at once; otherwise they do every 2 seconds.
 */
export async function work(
  boss: PgBoss,
  queues: Queues,
  logger: Logger,
  concurrency = 1,
): Promise<() => void> {
  const workers: string[] = [];
  for (const [queue, handlers] of Object.entries(queues)) {
    const options = { batchSize: concurrency };
    const worker: string = await boss.work<QueuedEvent>(queue, options, async (jobs) => {
      // There may be more; without this the next one would wait until the queue is polled again.
      boss.notifyWorker(worker);
      const outcomes = await Promise.allSettled(jobs.map((job) => handle(handlers, job, logger)));
      const failure = outcomes.find((outcome) => outcome.status === "rejected");
      if (!failure) return;
      // pg-boss fails all jobs of the batch that are not completed.
      const done = jobs.filter((_, index) => outcomes[index]!.status === "fulfilled");
      const ids = done.map(({ id }) => id);
      if (ids.length > 0) await boss.complete(queue, ids);
      throw failure.reason;
    });
    workers.push(worker);
  }
  return () => workers.forEach((worker) => boss.notifyWorker(worker));
}

async function handle(
  handlers: Queues[string],
  { id, data: { event, payload } }: PgBoss.Job<QueuedEvent>,
  logger: Logger,
): Promise<void> {
  // The keys of `handlers` tie each to its payload; a name that comes from a table cannot.
  const handler = handlers[event as keyof Events] as
    ((payload: unknown, jobId: string) => unknown) | undefined;
  try {
    await handler?.(payload, id);
  } catch (error) {
    await logger.error("Event handler failed:", event, error);
    throw error;
  }
}
