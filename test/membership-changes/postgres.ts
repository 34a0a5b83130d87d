import { Kysely, PostgresDialect } from "kysely";
import type pg from "pg";
import { migrate } from "../fixtures/auth-server";
import type { Defer } from "../fixtures/deferred";
import { createDatabase, createPool, startPostgres } from "../fixtures/postgres";
import { outsideOf, type Database } from "./database";

export interface PostgresOptions {
  /** A new one by default. */
  databaseUrl?: string;
  /** As an adapter without transactions has it. */
  withoutTransactions?: boolean;
  connections?: number;
  serialIds?: boolean;
}

export interface PostgresDatabase extends Database {
  readonly url: string;
  /** On connections of its own, so that it sees what others see. */
  readonly pool: pg.Pool;
  /** The statements that Better Auth sent. */
  readonly queries: string[];
}

/** PostgreSQL by way of Better Auth's own adapter. */
export async function openPostgres(
  defer: Defer,
  {
    databaseUrl,
    withoutTransactions = false,
    connections = 10,
    serialIds = false,
  }: PostgresOptions,
): Promise<PostgresDatabase> {
  const url = databaseUrl ?? (await createDatabase(await startPostgres(defer), defer));
  const pool = createPool(url, { max: 4 });
  defer(() => pool.end());
  const queries: string[] = [];

  return {
    url,
    pool,
    queries,
    transactions: !withoutTransactions,
    serialIds,
    outside: await outsideOf(pool),
    async connect(options) {
      const pool = createPool(url, { max: connections });
      defer(() => pool.end());
      pool.on("connect", (client) => record(client, queries));
      await migrate({ ...options, database: pool });
      if (!withoutTransactions) return pool;
      const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) });
      return { db, type: "postgres", transaction: false };
    },
  };
}

function record(client: pg.PoolClient, queries: string[]): void {
  const { query } = client;
  client.query = (...call: unknown[]) => {
    const [statement] = call as [string | { text: string }];
    queries.push(typeof statement === "string" ? statement : statement.text);
    return Reflect.apply(query, client, call);
  };
}
