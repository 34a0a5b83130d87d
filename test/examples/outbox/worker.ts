import type { Logger } from "@kernia/events";
import type PgBoss from "pg-boss";
import { addJobs, createQueues, work, type QueueOptions, type Queues } from "./queue";
import { startRelay } from "./relay";

export interface WorkerOptions extends QueueOptions {
  /** Where the outbox is. */
  databaseUrl: string;
  /** A pg-boss that was started, in the same database. */
  boss: PgBoss;
  queues: Queues;
  /** How many jobs of a queue are worked on at once, out of order then. One by default. */
  concurrency?: number;
  /** Is told of every failure. The global `console` by default. */
  logger?: Logger;
}

/** Moves events from the outbox to the queues, and works them off. Any number of these may run. */
export async function startWorker({
  databaseUrl,
  boss,
  queues,
  concurrency,
  logger = console,
  ...options
}: WorkerOptions) {
  boss.on("error", (error) => void logger.error("pg-boss failed:", error));
  await createQueues(boss, queues, options);
  const wakeWorkers = await work(boss, queues, logger, concurrency);
  const relay = startRelay({
    databaseUrl,
    forward: (events, client) => addJobs(boss, queues, events, client),
    onForwarded: wakeWorkers,
    logger,
  });

  return {
    /** Finishes what is under way. */
    async stop(): Promise<void> {
      await relay.stop();
      await boss.stop({ graceful: true });
    },
  };
}
