// Needs no Better Auth: a worker may be a process that knows nothing of it. Needs Node 20, `pg` 8 and, in
// the same database as the outbox, pg-boss 10, 11 or 12; the last two need Node 22.12.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Events, Logger } from "@kernia/events";
import pg from "pg";

/**
 * A queue for each handler, or for handlers that succeed and fail together, and in it the events that
 * it is for. A handler as `bus.on` takes it will do.
 */
export interface Queues {
  readonly [queue: string]: {
    readonly [Name in keyof Events]?: (payload: Events[Name], job: EventJob) => unknown;
  };
}

/** What a handler gets beside the payload. */
export interface EventJob {
  /** Stays the same when the job is tried again, so that what must be written once has a key. */
  readonly id: string;
  readonly event: string;
  /** When the transaction that made the change began. */
  readonly createdAt: Date;
}

/** What is used of pg-boss. The class `PgBoss` of versions 10, 11 and 12 fits. */
export interface Boss {
  on(event: "error", handler: (error: Error) => void): unknown;
  stop(options: { graceful: boolean }): Promise<void>;
  createQueue(name: string, options: QueueSettings): Promise<void>;
  updateQueue(name: string, options: QueueSettings): Promise<void>;
  /** pg-boss 10 takes the jobs first, later ones the queue. */
  insert(...args: never[]): Promise<unknown>;
  fetch(name: string, options: { batchSize: number }): Promise<readonly FetchedJob[]>;
  complete(name: string, id: string): Promise<unknown>;
  fail(name: string, id: string, error: object): Promise<unknown>;
}

export interface QueueSettings {
  name: string;
  expireInSeconds: number;
  retryLimit: number;
  retryDelay: number;
  retryBackoff: boolean;
  /** Of pg-boss 10. */
  retentionMinutes: number;
  /** Of later ones. */
  retentionSeconds: number;
  deadLetter?: string;
}

/** A job as pg-boss hands it out. */
export interface FetchedJob {
  readonly id: string;
  readonly data: unknown;
  readonly expireInSeconds: number;
}

/** What a job holds. Its id is kept here as well, for pg-boss gives another one to a job that failed. */
interface JobData {
  readonly id: string;
  readonly event: string;
  readonly payload: unknown;
  readonly createdAt: string;
}

export interface WorkerOptions {
  /** Where the outbox is. */
  databaseUrl: string;
  /** A pg-boss that was started, in the same database. */
  boss: Boss;
  queues: Queues;
  /** How many jobs of a queue are worked on at once, out of order then. One by default. */
  concurrency?: number;
  /** After how many seconds a handler counts as failed, or its worker as dead. 60 by default. */
  expireInSeconds?: number;
  /** How many times a job is tried again. Twenty by default, which takes two to four days. */
  retryLimit?: number;
  /** How many seconds pass before a job is tried again; then twice as many, and so on. One by default. */
  retryDelay?: number;
  /** The schema of pg-boss. `pgboss` by default. */
  schema?: string;
  /** Receives every failure. The global `console` by default. */
  logger?: Logger;
}

export interface Stoppable {
  stop(): Promise<void>;
}

const yearInMinutes = 365 * 24 * 60;

/**
 * Moves events from the outbox into the queues that are for them, and works through `queues`.
 *
 * Which queue is for which event is kept in the database, so that any worker moves events to the queues
 * of all. A queue gets the events that are moved from the first start of its worker on, also while no
 * worker serves it. What a worker does not name for its queues when it starts, those no longer get: of
 * two versions, the last to start decides. The queues of others are left alone.
 *
 * @returns `stop`, which finishes what is under way, and stops `boss`.
 */
export async function startWorker({
  databaseUrl,
  boss,
  queues,
  concurrency = 1,
  expireInSeconds = 60,
  retryLimit = 20,
  retryDelay = 1,
  schema = "pgboss",
  logger = console,
}: WorkerOptions): Promise<Stoppable> {
  const report = reportTo(logger);
  boss.on("error", (error) => void report("pg-boss failed:", error));
  await inTransaction(databaseUrl, async (client) => {
    // One worker after the other, or those that start at once would each lock what the others need.
    await client.query("select pg_advisory_xact_lock(hashtext('event_outbox'))");
    for (const name of Object.keys(queues)) {
      const retry = { retryLimit, retryDelay, retryBackoff: true };
      await createQueue(boss, { name: failedQueue(name), expireInSeconds, ...retry });
      await createQueue(boss, { name, expireInSeconds, ...retry, deadLetter: failedQueue(name) });
    }
    await subscribe(client, schema, queues);
    await createIndex(client, schema);
  });

  const workers = Object.entries(queues).map(([queue, handlers]) =>
    work(boss, queue, handlers, concurrency, report),
  );
  const relay = startRelay({
    databaseUrl,
    forward: (events, client) => addJobs(boss, schema, events, client),
    onForwarded: () => workers.forEach((worker) => worker.wake()),
    logger,
  });

  return {
    async stop() {
      await Promise.all([relay, ...workers].map((part) => part.stop()));
      await boss.stop({ graceful: true });
    },
  };
}

/**
 * Runs the failed jobs of a queue again, or those with the given ids, each with the id that it had.
 *
 * @returns how many there were.
 */
export async function retryFailed({
  databaseUrl,
  boss,
  queue,
  ids,
  schema = "pgboss",
}: {
  databaseUrl: string;
  boss: Boss;
  queue: string;
  ids?: readonly string[];
  schema?: string;
}): Promise<number> {
  return inTransaction(databaseUrl, async (client) => {
    const { rows } = await client.query<{ data: JobData }>(
      `delete from ${schema}.job
      where name = $1 and state < 'active' and ($2::text[] is null or data->>'id' = any($2))
      returning data`,
      [failedQueue(queue), ids ?? null],
    );
    const jobs = rows.map(({ data }) => ({ id: randomUUID(), data }));
    await insertJobs(boss, queue, jobs, client);
    return jobs.length;
  });
}

/** Where jobs go that failed for the last time. They stay there until somebody decides. */
function failedQueue(queue: string): string {
  return `${queue}.failed`;
}

type RetentionSettings = "retentionMinutes" | "retentionSeconds";

/** What has not run for a year is removed. A queue that is there already takes these settings too. */
async function createQueue(
  boss: Boss,
  options: Omit<QueueSettings, RetentionSettings>,
): Promise<void> {
  const settings = {
    ...options,
    retentionMinutes: yearInMinutes,
    retentionSeconds: yearInMinutes * 60,
  };
  // Each a copy, for pg-boss adds to what it is given.
  await boss.createQueue(options.name, { ...settings });
  await boss.updateQueue(options.name, { ...settings });
}

/** Has the given queues get the events that they name, and no others. */
async function subscribe(client: pg.ClientBase, schema: string, queues: Queues): Promise<void> {
  const wanted = Object.entries(queues).flatMap(([queue, handlers]) =>
    Object.keys(handlers).map((event) => ({ queue, event })),
  );
  await client.query(
    `delete from ${schema}.subscription
    where name = any($1) and (name, event) not in (
      select queue, event from json_to_recordset($2) as wanted (queue text, event text)
    )`,
    [Object.keys(queues), JSON.stringify(wanted)],
  );
  await client.query(
    `insert into ${schema}.subscription (name, event)
    select queue, event from json_to_recordset($1) as wanted (queue text, event text)
    on conflict do nothing`,
    [JSON.stringify(wanted)],
  );
}

/** Without it, pg-boss 10 and 11 sort all that is waiting for each job that they hand out. */
async function createIndex(client: pg.ClientBase, schema: string): Promise<void> {
  const { rowCount } = await client.query(
    `select from pg_indexes
    where schemaname = $1 and indexdef like '%(name, priority DESC, created_on,%'`,
    [schema],
  );
  if (rowCount) return;
  await client.query(
    `create index event_outbox_order on ${schema}.job (name, priority desc, created_on, id)
    where state < 'active'`,
  );
}

/** Adds a job for each event to each queue that is for it, in the transaction of `client`. */
async function addJobs(
  boss: Boss,
  schema: string,
  events: readonly OutboxEvent[],
  client: pg.ClientBase,
): Promise<void> {
  const { rows: subscriptions } = await client.query<{ queue: string; events: string[] }>(
    `select name as queue, array_agg(event) as events from ${schema}.subscription
    where event = any($1) group by name order by name`,
    [[...new Set(events.map(({ event }) => event))]],
  );
  for (const { queue, events: wanted } of subscriptions) {
    const jobs = events
      .filter(({ event }) => wanted.includes(event))
      .map(({ event, payload, createdAt }, index) => {
        const id = sortedId(index);
        return { id, data: { id, event, payload, createdAt: createdAt.toISOString() } };
      });
    await insertJobs(boss, queue, jobs, client);
  }
}

async function insertJobs(
  boss: Boss,
  queue: string,
  jobs: readonly { id: string; data: JobData }[],
  client: pg.ClientBase,
): Promise<void> {
  if (jobs.length === 0) return;
  let added: number | null = 0;
  const db = {
    async executeSql(text: string, values?: unknown[]) {
      const result = await client.query(text, values);
      added = result.rowCount;
      return result;
    },
  };
  // No one type fits the two orders of its parameters.
  const insert = boss.insert.bind(boss) as (...args: unknown[]) => Promise<unknown>;
  const isVersion10 = "archive" in boss;
  if (isVersion10)
    await insert(
      jobs.map((job) => ({ ...job, name: queue })),
      { db },
    );
  else await insert(queue, jobs, { db });
  // A queue that was deleted meanwhile takes nothing, and pg-boss 10 says nothing.
  if (added !== jobs.length) {
    throw new Error(`queue ${queue} took ${added} of ${jobs.length} jobs: does it exist?`);
  }
}

/** pg-boss sorts jobs of one transaction by their ids. */
function sortedId(index: number): string {
  return index.toString(16).padStart(8, "0") + randomUUID().slice(8);
}

type Report = (message: string, ...details: unknown[]) => Promise<void>;

const pollingSecondsOfQueues = 2;

/** Works through a queue, each job on its own: one that fails or hangs has no effect on the others. */
function work(
  boss: Boss,
  queue: string,
  handlers: Queues[string],
  concurrency: number,
  report: Report,
): Stoppable & { wake(): void } {
  const bell = createBell();
  const running = new Set<Promise<void>>();
  const stopping = new AbortController();
  const stopped = run();

  return {
    wake: bell.ring,
    async stop() {
      stopping.abort();
      bell.ring();
      await stopped;
      await Promise.all(running);
    },
  };

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const free = concurrency - running.size;
      const jobs = free > 0 ? await fetchJobs(free) : [];
      for (const job of jobs) {
        const done = handle(job).finally(() => {
          running.delete(done);
          bell.ring();
        });
        running.add(done);
      }
      if (jobs.length < free || free === 0) await bell.wait(pollingSecondsOfQueues);
    }
  }

  async function fetchJobs(batchSize: number): Promise<readonly FetchedJob[]> {
    try {
      return await boss.fetch(queue, { batchSize });
    } catch (error) {
      await report(`Queue ${queue} could not be read:`, error);
      return [];
    }
  }

  async function handle(job: FetchedJob): Promise<void> {
    const { event } = job.data as JobData;
    try {
      const handling = callHandler(job.data as JobData);
      // A string in pg-boss 10.
      await within(Number(job.expireInSeconds), handling, "the handler");
    } catch (error) {
      await report("Event handler failed:", event, error);
      await settle(() => boss.fail(queue, job.id, { message: String(error) }));
      return;
    }
    await settle(() => boss.complete(queue, job.id));
  }

  async function callHandler({ id, event, payload, createdAt }: JobData): Promise<void> {
    // The keys of `handlers` tie each to its payload; a name that comes from a table cannot.
    const handler = Object.hasOwn(handlers, event)
      ? (handlers[event as keyof Events] as (payload: unknown, job: EventJob) => unknown)
      : undefined;
    // Another version of the worker may have one.
    if (!handler) throw new Error(`queue ${queue} has no handler for ${event} here`);
    await handler(payload, { id, event, createdAt: new Date(createdAt) });
  }

  /** What could not be recorded is tried again once the job has expired. */
  async function settle(record: () => Promise<unknown>): Promise<void> {
    try {
      await record();
    } catch (error) {
      await report(`Queue ${queue} could not record how a job ended:`, error);
    }
  }
}

/** A row of `event_outbox`. */
export interface OutboxEvent {
  /** Increases from insert to insert. A string, because a `bigint` may exceed what a number holds. */
  readonly id: string;
  readonly event: string;
  readonly payload: unknown;
  readonly createdAt: Date;
}

export interface RelayOptions {
  databaseUrl: string;
  /**
   * Hands events on, in the order of their ids. Whatever it does through `client` is committed
   * together with their deletion; if it rejects, they stay, and are handed on again.
   */
  forward(events: readonly OutboxEvent[], client: pg.ClientBase): Promise<unknown>;
  /** Is called each time that events have left the outbox for good. */
  onForwarded?(): void;
  /** Receives every failure. The global `console` by default. */
  logger?: Logger;
  /** How many events are moved at a time, at most. */
  batchSize?: number;
  /** How many bytes their payloads may have together. An event that has more is moved alone. */
  batchBytes?: number;
  /** After how many seconds a batch that is still under way is given up, and tried again. */
  batchSeconds?: number;
  /** How often to look although PostgreSQL sent no notification, in seconds. */
  pollingSeconds?: number;
}

const takeEvents = `
  with candidates as (
    select id, octet_length(payload::text) as bytes
    from event_outbox order by id limit $1 for update skip locked
  ), batch as (
    select id, sum(bytes) over earlier + bytes <= $2 as fits from candidates
    window earlier as (order by id rows between unbounded preceding and 1 preceding)
  ), taken as (
    delete from event_outbox
    -- Nothing comes before the first.
    where id = any(array(select id from batch where fits is not false))
    returning id, event, payload, created_at as "createdAt"
  )
  select * from taken order by id`;

/** Where events are few, and where their size is not known yet. */
const firstBatchSize = 100;
/** How long to wait after a failure. */
const retryMilliseconds = 1_000;
const connectionSeconds = 5;

/** Moves events from the outbox to wherever `forward` takes them, until it is stopped. */
export function startRelay({
  databaseUrl,
  forward,
  onForwarded = () => {},
  logger = console,
  batchSize = 1_000,
  batchBytes = 8 * 2 ** 20,
  batchSeconds = 60,
  pollingSeconds = 5,
}: RelayOptions): Stoppable {
  const report = reportTo(logger);
  const bell = createBell();
  const stopping = new AbortController();
  const { signal } = stopping;
  signal.addEventListener("abort", bell.ring);
  const stopped = run();

  return {
    /** Finishes the batch that is under way, if any, and disconnects. */
    async stop() {
      stopping.abort();
      await stopped;
    },
  };

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        await relayOverOneConnection();
      } catch (error) {
        await report("The outbox relay failed and will try again:", error);
        await sleep(retryMilliseconds, undefined, { signal }).catch(() => {});
      }
    }
  }

  async function relayOverOneConnection(): Promise<void> {
    const client = new pg.Client({
      connectionString: databaseUrl,
      connectionTimeoutMillis: connectionSeconds * 1_000,
      query_timeout: batchSeconds * 1_000,
      // Should this machine vanish, its rows go to another relay.
      idle_in_transaction_session_timeout: batchSeconds * 1_000,
      keepAlive: true,
    });
    client.on("notification", bell.ring);
    // The next query reports what happened to the connection.
    client.on("error", bell.ring);
    try {
      await client.connect();
      await client.query("listen event_outbox");
      const firstLimit = Math.min(firstBatchSize, batchSize);
      let limit = firstLimit;
      while (!signal.aborted) {
        const moved = await within(
          batchSeconds,
          moveEvents(client, limit),
          "a batch of the outbox",
        );
        // Where few fit into a batch, it takes long to measure many.
        limit = moved === 0 ? firstLimit : Math.min(2 * moved, batchSize);
        if (moved === 0 && !signal.aborted) await bell.wait(pollingSeconds);
      }
    } finally {
      // A batch that was given up is rolled back with its connection.
      await within(connectionSeconds, client.end(), "disconnecting").catch(() => {});
    }
  }

  /** Returns how many there were. */
  async function moveEvents(client: pg.Client, limit: number): Promise<number> {
    await client.query("begin");
    const { rows } = await client.query<OutboxEvent>(takeEvents, [limit, batchBytes]);
    if (rows.length > 0) await forward(rows, client);
    // PostgreSQL answers the commit of a failed transaction with a rollback, and no error.
    const { command } = await client.query("commit");
    if (command !== "COMMIT") throw new Error("a query failed in the relay's transaction");
    if (rows.length > 0) onForwarded();
    return rows.length;
  }
}

async function inTransaction<Result>(
  databaseUrl: string,
  run: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client(databaseUrl);
  // The query that is under way reports it.
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query("begin");
    const result = await run(client);
    await client.query("commit");
    return result;
  } finally {
    await client.end();
  }
}

/** A logger that throws or rejects stops nothing. */
function reportTo(logger: Logger): Report {
  return async (message, ...details) => {
    try {
      await logger.error(message, ...details);
    } catch {
      // There is nobody left to tell.
    }
  };
}

/** Rejects once the time is up; what the promise comes to after that is ignored. */
async function within<Result>(
  seconds: number,
  promise: Promise<Result>,
  what: string,
): Promise<Result> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeIsUp = new Promise<never>((_, reject) => {
    const error = new Error(`${what} took longer than ${seconds} seconds`);
    timer = setTimeout(() => reject(error), seconds * 1_000);
  });
  try {
    return await Promise.race([promise, timeIsUp]);
  } finally {
    clearTimeout(timer);
  }
}

/** Something to wait for. A ring that nobody waits for is kept for the next who does. */
function createBell(): { ring(): void; wait(seconds: number): Promise<void> } {
  let rung = false;
  let wake = () => {};

  return {
    ring() {
      rung = true;
      wake();
    },

    async wait(seconds) {
      if (!rung) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, seconds * 1_000);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      rung = false;
    },
  };
}
