import type pg from "pg";
import type { Defer } from "../fixtures/deferred";
import { createDatabase, createPool, startPostgres } from "../fixtures/postgres";
import { sqlDatabase, type SqlOptions } from "./database";

export interface PostgresOptions extends SqlOptions<pg.Pool> {
  /** A new one by default. */
  databaseUrl?: string;
  connections?: number;
}

/** PostgreSQL, by way of Better Auth's own adapter by default. */
export async function openPostgres(
  defer: Defer,
  { databaseUrl, connections = 10, ...options }: PostgresOptions = {},
) {
  const url = databaseUrl ?? (await createDatabase(await startPostgres(defer), defer));
  const queries: unknown[] = [];
  const connect = (max = connections) => {
    const pool = createPool(url, { max });
    defer(() => pool.end());
    return pool;
  };
  const connectRecorded = () =>
    connect().on("connect", (client) => {
      const { query } = client;
      client.query = (...call: unknown[]) => {
        queries.push(call[0]);
        return Reflect.apply(query, client, call);
      };
    });
  return {
    ...(await sqlDatabase(connectRecorded, options)),
    url,
    /** On connections of its own, so that it sees what others see. */
    pool: connect(4),
    /** The statements that were sent, but not by `pool`. */
    queries,
  };
}
