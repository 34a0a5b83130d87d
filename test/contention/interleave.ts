import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { Actor, Gate } from "../fixtures/actor";

type Work = () => Promise<unknown>;

/** Whether one of the connections with these process ids waits for a lock. */
export type WaitsForLock = (pids: readonly number[]) => Promise<boolean>;

export interface Interruption {
  /** While the work is held before this query, the first being 1. */
  readonly before: number;
  readonly work: Work;
}

export interface Interleaved {
  /** Of the work, then of those that interrupted it. */
  readonly answers: PromiseSettledResult<unknown>[];
  /** How many queries the work took. */
  readonly queries: number;
}

/**
 * Runs the work, and holds it before the queries that the interruptions name: each of these then
 * runs until it is done or waits for the work. One for which the work has too few queries comes
 * after it. The order is the same each time, whatever the machine does meanwhile.
 */
export async function interleave(
  waitsForLock: WaitsForLock,
  work: Work,
  interruptions: readonly Interruption[],
): Promise<Interleaved> {
  const actor = new Actor();
  const waiting = [...interruptions];
  const interrupting: Promise<unknown>[] = [];
  // Not in the context of the work: Better Auth keeps the current transaction in there.
  const outside = AsyncLocalStorage.snapshot();
  const next = async () => {
    const other = new Actor();
    const answer = outside(() => other.run(waiting.shift()!.work));
    interrupting.push(answer);
    await untilDoneOrWaiting(waitsForLock, other, answer);
  };
  let queries = 0;
  const oneAtATime = new Turns();
  actor.beforeQuery = (number) => {
    queries = number;
    return oneAtATime.take(async () => {
      while (waiting[0] && waiting[0].before <= number) await next();
    });
  };
  const [answer] = await Promise.allSettled([actor.run(work)]);
  while (waiting.length > 0) await next();
  return { answers: [answer!, ...(await Promise.allSettled(interrupting))], queries };
}

/** The queries of one actor may come at the same time. */
class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take(turn: () => Promise<unknown>): Promise<unknown> {
    return (this.#last = this.#last.then(turn));
  }
}

/** Returns once the work is done, or waits for a lock, or for something else in this process. */
export async function untilDoneOrWaiting(
  waitsForLock: WaitsForLock,
  actor: Actor,
  work: Promise<unknown>,
): Promise<void> {
  const done = new Gate();
  work.then(done.open, done.open);
  let idleSince = Date.now();
  let statements = 0;
  for (;;) {
    if ((await Promise.race([done.opened.then(() => true), sleep(2)])) === true) return;
    const { running } = actor;
    if (running.length > 0 && (await waitsForLock(running))) return;
    if (running.length > 0 || actor.statements.length > statements) {
      idleSince = Date.now();
      statements = actor.statements.length;
    }
    // Not even a query: it waits for something in this process, which nothing shows.
    if (Date.now() - idleSince > 150) return;
  }
}

/** As PostgreSQL itself shows it. */
export function waitsForLockIn(database: pg.Pool): WaitsForLock {
  return async (pids) => {
    const { rowCount } = await database.query(
      `select from pg_stat_activity where pid = any($1) and wait_event_type = 'Lock'`,
      [pids],
    );
    return rowCount! > 0;
  };
}
