import { join } from "node:path";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import type { Defer } from "../../fixtures/deferred";
import { databaseOf, type Engine } from "../../membership-changes/database";

export const sqlite: Engine = {
  name: "Kysely, SQLite",
  async open(defer) {
    const connect = await createSqlite(defer);
    return databaseOf(connect);
  },
};

export const d1: Engine = {
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
    return databaseOf(() => database as never, false);
  },
};

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
