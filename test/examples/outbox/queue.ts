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

/** Creates the queues that are not there yet. Twenty retries take about four days. */
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
  const db = { executeSql: (text: string, values: unknown[]) => client.query(text, values) };
  for (const [queue, handlers] of Object.entries(queues)) {
    for (const [index, { event, payload }] of events.entries()) {
      if (!Object.hasOwn(handlers, event)) continue;
      // pg-boss sorts jobs of one transaction by their ids.
      const id = index.toString(16).padStart(8, "0") + randomUUID().slice(8);
      const added = await boss.send(queue, { event, payload }, { id, db });
      if (!added) throw new Error(`the queue ${queue} did not take the job: does it exist?`);
    }
  }
}

/**
 * Works off the queues, each on its own, its jobs in order and `concurrency` at a time. A failure is
 * logged, and the job is retried.
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
    for (let index = 0; index < concurrency; index++) {
      const worker: string = await boss.work<QueuedEvent>(queue, async ([job]) => {
        // There may be more; without this the next one would wait until the queue is polled again.
        boss.notifyWorker(worker);
        const { event, payload } = job!.data;
        const handler: ((payload: never, jobId: string) => unknown) | undefined =
          handlers[event as keyof Events];
        try {
          await handler?.(payload as never, job!.id);
        } catch (error) {
          await logger.error("Event handler failed:", event, error);
          throw error;
        }
      });
      workers.push(worker);
    }
  }
  return () => workers.forEach((worker) => boss.notifyWorker(worker));
}
