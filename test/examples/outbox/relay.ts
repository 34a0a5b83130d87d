import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@kernia/events";
import pg from "pg";

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
  /** Is told of every failure. The global `console` by default. */
  logger?: Logger;
  /** How many events are moved at a time. */
  batchSize?: number;
  /** How often to look although PostgreSQL sent no notification, in seconds. */
  pollingSeconds?: number;
}

export interface Relay {
  /** Finishes the batch that is under way, if any, and disconnects. */
  stop(): Promise<void>;
}

const takeEvents = `
  with taken as (
    delete from event_outbox
    where id = any(array(select id from event_outbox order by id limit $1 for update skip locked))
    returning id, event, payload, created_at as "createdAt"
  )
  select * from taken order by id`;

/** How long to wait after a failure. */
const retryMilliseconds = 1_000;

/** Moves events from the outbox to wherever `forward` takes them, until it is stopped. */
export function startRelay({
  databaseUrl,
  forward,
  onForwarded = () => {},
  logger = console,
  batchSize = 100,
  pollingSeconds = 5,
}: RelayOptions): Relay {
  const bell = createBell();
  const stopping = new AbortController();
  const { signal } = stopping;
  signal.addEventListener("abort", bell.ring);
  const stopped = run();

  return {
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
        await logFailure(error);
        await sleep(retryMilliseconds, undefined, { signal }).catch(() => {});
      }
    }
  }

  async function logFailure(error: unknown): Promise<void> {
    try {
      await logger.error("The outbox relay failed and will try again:", error);
    } catch {
      // A logger that throws or rejects stops nothing.
    }
  }

  async function relayOverOneConnection(): Promise<void> {
    const client = new pg.Client({
      connectionString: databaseUrl,
      connectionTimeoutMillis: 5_000,
      query_timeout: 60_000,
      // Should this machine vanish, its rows go to another relay.
      idle_in_transaction_session_timeout: 60_000,
      keepAlive: true,
    });
    client.on("notification", bell.ring);
    // The next query reports what happened to the connection.
    client.on("error", bell.ring);
    try {
      await client.connect();
      await client.query("listen event_outbox");
      while (!signal.aborted) {
        const moved = await moveEvents(client);
        if (moved < batchSize && !signal.aborted) await bell.wait(pollingSeconds);
      }
    } finally {
      await client.end();
    }
  }

  /** Returns how many there were. */
  async function moveEvents(client: pg.Client): Promise<number> {
    await client.query("begin");
    const { rows } = await client.query<OutboxEvent>(takeEvents, [batchSize]);
    if (rows.length > 0) await forward(rows, client);
    // PostgreSQL answers the commit of a failed transaction with a rollback, and no error.
    const { command } = await client.query("commit");
    if (command !== "COMMIT") throw new Error("a query failed in the relay's transaction");
    if (rows.length > 0) onForwarded();
    return rows.length;
  }
}

/** Something to wait for. A ring that nobody waits for is kept for the next who does. */
function createBell() {
  let rung = false;
  let wake = () => {};

  return {
    ring() {
      rung = true;
      wake();
    },

    async wait(seconds: number): Promise<void> {
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
