// @kernia/events 1.0.0: copied from its test/examples/recipes/after-commit.ts
// Needs Better Auth 1.7 or newer, because 1.5 and 1.6 also run queued hooks after a rollback; and
// @better-auth/core in the same version as a dependency of yours. `inTransaction` alone needs only pg.

import { queueAfterTransactionHook } from "@better-auth/core/context";
import {
  getBus,
  type AuthContext,
  type EventBus,
  type EventName,
  type EventPayload,
} from "@kernia/events";
import type pg from "pg";

// Before the commit, a handler on the same connection is part of the transaction: if one of its
// statements fails, PostgreSQL aborts the transaction (25P02), although the bus catches the error. On
// another connection, it may wait for a lock of the transaction, which waits for the handler, for ever.

/**
 * Emits after the transaction of Better Auth's `runWithTransaction` is committed, and not if it is rolled
 * back; without a transaction, immediately. The caller of `runWithTransaction` waits for the handlers.
 */
export async function emitAfterCommit<Name extends EventName>(
  auth: AuthContext,
  event: Name,
  payload: EventPayload<Name>,
): Promise<void> {
  await queueAfterTransactionHook(() => getBus(auth).emit(event, payload));
}

/**
 * The same for a transaction of your own: the events that `work` passes to `emitLater` are emitted after
 * `commit`, one after another. Where `work` caught the error of a statement, PostgreSQL rolls back
 * instead: then nothing is emitted, and it throws.
 */
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
    const { command } = await client.query("commit");
    if (command === "ROLLBACK") throw new Error("Rolled back, because a statement failed");
  } catch (error) {
    const isRolledBack = await client.query("rollback").catch(() => false);
    // After a `query_timeout`, say, it may still be in the transaction: then it leaves the pool.
    client.release(!isRolledBack);
    throw error;
  }
  client.release();
  for (const emit of emits) await emit();
  return result;
}
