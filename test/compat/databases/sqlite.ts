import { join } from "node:path";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import { databaseOf, encodeForSqlite } from "../../membership-changes/sql";
import type { Engine } from "./engine";

const sqlite = (name: string, shared: boolean): Engine => ({
  name,
  shared,
  create: async (defer) => join(await createTemporaryFolder(defer), "database"),
  async open(path, defer) {
    const { default: Sqlite } = await import("better-sqlite3");
    const connect = () => {
      const database = new Sqlite(path);
      defer(() => database.close());
      if (shared) database.pragma("journal_mode = wal");
      // Nothing here has to outlive a loss of power.
      database.pragma("synchronous = off");
      return database;
    };
    return databaseOf(connect, { encode: encodeForSqlite });
  },
});

const d1: Engine = {
  name: "Kysely, Cloudflare D1",
  shared: false,
  create: async () => "database",
  async open(id, defer) {
    const { Miniflare } = await import("miniflare");
    const worker = new Miniflare({
      modules: true,
      script: "export default { fetch: () => new Response() }",
      d1Databases: { DB: id },
    });
    defer(() => worker.dispose());
    const database = await worker.getD1Database("DB");
    const options = { transactions: false, mostValues: 100, encode: encodeForSqlite };
    return databaseOf(() => database as never, options);
  },
};

const libsql: Engine = {
  name: "Kysely, libsql",
  shared: false,
  create: async (defer) => join(await createTemporaryFolder(defer), "database"),
  async open(path, defer) {
    const { LibsqlDialect } = await import("@libsql/kysely-libsql");
    const { createLibsqlClient } = await import("./libsql-client");
    const connect = () => {
      // Made for another version of the client, whose methods are these.
      const dialect = new LibsqlDialect({ client: createLibsqlClient(path, defer) as never });
      return { dialect, type: "sqlite", transaction: true } as never;
    };
    return databaseOf(connect, { encode: encodeForSqlite });
  },
};

export const sqliteEngines: readonly Engine[] = [
  sqlite("Kysely, SQLite", false),
  sqlite("Kysely, SQLite in WAL mode, two processes", true),
  d1,
  libsql,
];
