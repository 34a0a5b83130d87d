import { AsyncLocalStorage } from "node:async_hooks";
import type pg from "pg";

const actors = new AsyncLocalStorage<Actor>();

/**
 * Somebody who changes something, and can be held before each of the queries that this takes. Which
 * queries are theirs follows from the asynchronous context, so one pool serves many.
 */
export class Actor {
  /** The statements that they have sent, or are about to send. */
  readonly statements: string[] = [];
  /** Called before each query, with its number from 1 on; the query waits for it. */
  beforeQuery: (number: number, statement: string) => unknown = () => {};
  readonly #open = new Map<number, Query>();
  #numbers = 0;

  /** The process ids of the connections on which their queries are running now. */
  get running(): number[] {
    return [...this.#open.values()].filter(({ held }) => !held).map(({ pid }) => pid);
  }

  run<Answer>(work: () => Promise<Answer>): Promise<Answer> {
    return actors.run(this, work);
  }

  /** Has a query wait until it may go on. */
  async query<Result>(pid: number, statement: string, send: () => Promise<Result>) {
    this.statements.push(statement);
    const number = ++this.#numbers;
    const query: Query = { pid, held: true };
    this.#open.set(number, query);
    try {
      await this.beforeQuery(number, statement);
      query.held = false;
      return await send();
    } finally {
      this.#open.delete(number);
    }
  }
}

interface Query {
  readonly pid: number;
  held: boolean;
}

/** Whoever sends a query on the pool from within `Actor.run` can be held. */
export function holdActors(pool: pg.Pool, onError: (error: Error) => void = () => {}): void {
  pool.on("connect", (client) => {
    const { query } = client;
    const { processID } = client as unknown as { processID: number };
    // Those who send on it all wait for the promise; none of them passes a callback.
    client.query = (async (...call: unknown[]) => {
      const [statement] = call as [string | { text: string }];
      const text = typeof statement === "string" ? statement : statement.text;
      const send = () => Reflect.apply(query, client, call) as unknown as Promise<unknown>;
      try {
        const actor = actors.getStore();
        return await (actor ? actor.query(processID, text, send) : send());
      } catch (error) {
        onError(error as Error);
        throw error;
      }
    }) as unknown as typeof client.query;
  });
}

/** What can be opened once, and waited for. */
export class Gate {
  open!: () => void;
  readonly opened = new Promise<void>((resolve) => (this.open = resolve));
}
