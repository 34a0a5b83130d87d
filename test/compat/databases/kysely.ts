import { join } from "node:path";
import { Kysely, PostgresDialect } from "kysely";
import type { Defer } from "../../fixtures/deferred";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import { openPostgres, sqlDatabase, type Engine } from "../../membership-changes/database";
import { startMariaDb } from "./mariadb";

export const kyselyEngines: readonly Engine[] = [
  { name: "Kysely, PostgreSQL", open: openPostgres },
  {
    name: "Kysely, PostgreSQL, serial ids, one connection",
    open: (defer) => openPostgres(defer, { connections: 1, serialIds: true }),
  },
  {
    name: "Kysely, PostgreSQL, no transactions",
    open: (defer) =>
      openPostgres(defer, {
        transactions: false,
        async adapt(pool) {
          const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) });
          return { db, type: "postgres", transaction: false };
        },
      }),
  },
  { name: "Kysely, MariaDB", open: async (defer) => sqlDatabase(await startMariaDb(defer)) },
  { name: "Kysely, SQLite", open: async (defer) => sqlDatabase(await createSqlite(defer)) },
  {
    name: "Kysely, Cloudflare D1",
    async open(defer) {
      const { Miniflare } = await import("miniflare");
      const worker = new Miniflare({
        modules: true,
        script: "export default { fetch: () => new Response() }",
        d1Databases: { DB: "database" },
      });
      defer(() => worker.dispose());
      const database = await worker.getD1Database("DB");
      return sqlDatabase(() => database as never, { transactions: false });
    },
  },
];

/** Returns a function that connects to a new database. */
export async function createSqlite(defer: Defer) {
  const { default: Sqlite } = await import("better-sqlite3");
  const path = join(await createTemporaryFolder(defer), "database");
  return () => {
    const database = new Sqlite(path);
    defer(() => database.close());
    // Nothing here has to outlive a loss of power.
    database.pragma("synchronous = off");
    return database;
  };
}
