// Needs Better Auth 1.7 or newer, because 1.5 and 1.6 also call what is queued after a rollback; and
// @better-auth/core in the same version as a dependency of yours. `inTransaction` alone needs neither.

import { queueAfterTransactionHook } from "@better-auth/core/context";
import {
  getBus,
  type AuthContext,
  type EventBus,
  type EventName,
  type EventPayload,
} from "@kernia/events";
import type pg from "pg";

// A handler that runs before the commit runs in the emitter's transaction, and when one of its
// statements fails, PostgreSQL aborts all of it (25P02), though the bus has caught the error. On a
// connection of its own it waits for the emitter's locks, and the emitter for it, for ever. So:

/**
 * Emits once the transaction of Better Auth's `runWithTransaction` is committed, and not at all
 * if it is rolled back; at once, where there is none. The caller of `runWithTransaction` waits for
 * the handlers.
 */
export async function emitAfterCommit<Name extends EventName>(
  auth: AuthContext,
  event: Name,
  payload: EventPayload<Name>,
): Promise<void> {
  await queueAfterTransactionHook(() => getBus(auth).emit(event, payload));
}

/** The same for a transaction of your own: emits what `work` hands to `emitLater`, after `commit`. */
export async function inTransaction<Result>(
  pool: pg.Pool,
  bus: EventBus,
  work: (client: pg.PoolClient, emitLater: EventBus["emit"]) => Promise<Result>,
): Promise<Result> {
  const emits: (() => Promise<void>)[] = [];
  const client = await pool.connect();
  let result: Result;
  try {
    await client.query("begin");
    result = await work(client, async (event, payload) => {
      emits.push(() => bus.emit(event, payload));
    });
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw error;
  } finally {
    client.release();
  }
  for (const emit of emits) await emit();
  return result;
}
