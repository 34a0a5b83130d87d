import type { EventHandler, EventPayload, Events } from "@kernia/events";
import PgBoss from "pg-boss";
import type { Jsonify, ReadonlyDeep } from "type-fest";
import type { Defer } from "../../app/harness/deferred";
import { createPool } from "../../app/harness/postgres";

/** The declared events whose payload is the same before and after `JSON.stringify`. */
export type ForwardableEvent = {
  [Name in keyof Events]: [Events[Name], Jsonify<Events[Name]>] extends [
    ReadonlyDeep<Jsonify<Events[Name]>>,
    Events[Name],
  ]
    ? Name
    : never;
}[keyof Events];

/** Bounds how long an emit waits for a PostgreSQL that does not answer. */
const timeout = 2_000;

/** Starts pg-boss for publishing, or, with `maintains`, for working too. */
export async function startBoss(databaseUrl: string, defer: Defer, { maintains = false } = {}) {
  const pool = createPool(databaseUrl, {
    connectionTimeoutMillis: timeout,
    query_timeout: timeout,
  });
  const boss = new PgBoss({
    db: { executeSql: (text, values) => pool.query(text, values) },
    supervise: maintains,
    schedule: false,
    maintenanceIntervalSeconds: 1,
  });
  // What fails in the background is tried again; without a listener it would end the process.
  boss.on("error", () => {});
  await boss.start();
  defer(async () => {
    await boss.stop({ graceful: false, wait: true }).catch(() => {});
    await pool.end();
  });
  return boss;
}

/**
 * Adds a job to each queue that subscribes to the event, to all of them or, when it rejects, to none.
 * `boss.publish` would not say whether it reached them.
 */
export async function publish<Name extends ForwardableEvent>(
  boss: PgBoss,
  event: Name,
  payload: EventPayload<Name>,
): Promise<void> {
  const { rows } = await boss
    .getDb()
    .executeSql("select name from pgboss.subscription where event = $1", [event]);
  if (rows.length === 0) return;
  await boss.insert(rows.map(({ name }: { name: string }) => ({ name, data: payload })));
}

/** Makes the handler's own queue, in which the events are kept from now on. */
export async function subscribe(
  boss: PgBoss,
  queue: string,
  events: readonly ForwardableEvent[],
): Promise<void> {
  // A job whose worker died comes back when it expires; one that failed, after the delay.
  await boss.createQueue(queue, {
    name: queue,
    expireInSeconds: 5,
    retryLimit: 10,
    retryDelay: 1,
  });
  for (const event of events) await boss.subscribe(event, queue);
}

/** Works off the queue with a handler as `bus.on` takes it. */
export async function work<Payload extends object>(
  boss: PgBoss,
  queue: string,
  handler: EventHandler<Payload>,
): Promise<void> {
  let worker: string | undefined;
  worker = await boss.work<Payload>(queue, { pollingIntervalSeconds: 0.5 }, async (jobs) => {
    // There may be more; without this the next one would wait until the queue is polled again.
    if (worker) boss.notifyWorker(worker);
    for (const { data } of jobs) await handler(data);
  });
}
