import { getAuthTables } from "@better-auth/core/db";
import { drizzleAdapter, type DrizzleAdapterConfig } from "@better-auth/drizzle-adapter";
import type { BetterAuthOptions } from "better-auth";
import * as mysql from "drizzle-orm/mysql-core";
import { drizzle as drizzleMysql } from "drizzle-orm/mysql2";
import { drizzle as drizzlePostgres } from "drizzle-orm/node-postgres";
import * as pg from "drizzle-orm/pg-core";
import * as sqlite from "drizzle-orm/sqlite-core";
import { openPostgres, sqlDatabase, type Engine } from "../../membership-changes/database";
import { createSqlite } from "./kysely";
import { startMariaDb } from "./mariadb";

const onPostgres = (transaction: boolean): Engine => ({
  name: `Drizzle, PostgreSQL${transaction ? "" : ", no transactions"}`,
  open: (defer) =>
    openPostgres(defer, {
      transactions: transaction,
      async adapt(pool, options) {
        const schema = schemaOf(options, pg.pgTable as never, {
          boolean: pg.boolean,
          date: () => pg.timestamp({ withTimezone: true }),
          number: pg.integer,
          string: pg.text,
        });
        const database = drizzlePostgres(pool, { schema });
        return drizzleAdapter(database, { provider: "pg", schema, transaction });
      },
    }),
});

const onMariaDb: Engine = {
  name: "Drizzle, MariaDB",
  open: async (defer) =>
    sqlDatabase(await startMariaDb(defer), {
      async adapt(pool, options) {
        const schema = schemaOf(options, mysql.mysqlTable as never, {
          boolean: mysql.boolean,
          date: () => mysql.timestamp({ fsp: 3 }),
          number: mysql.int,
          string: mysql.text,
        });
        const database = drizzleMysql(pool as never, { schema, mode: "default" });
        return drizzleAdapter(database, { provider: "mysql", schema, transaction: true });
      },
    }),
};

/** Drizzle's transactions of better-sqlite3 cannot await anything. */
const onSqlite: Engine = {
  name: "Drizzle, SQLite, no transactions",
  open: async (defer) =>
    sqlDatabase(await createSqlite(defer), {
      transactions: false,
      async adapt(connection, options) {
        const { drizzle } = await import("drizzle-orm/better-sqlite3");
        const schema = schemaOf(options, sqlite.sqliteTable as never, {
          boolean: () => sqlite.integer({ mode: "boolean" }),
          date: () => sqlite.integer({ mode: "timestamp_ms" }),
          number: sqlite.integer,
          string: sqlite.text,
        });
        return drizzleAdapter(drizzle(connection, { schema }), { provider: "sqlite", schema });
      },
    }),
};

export const drizzleEngines: readonly Engine[] = [
  onPostgres(true),
  onPostgres(false),
  onMariaDb,
  onSqlite,
];

/** What the command line of Better Auth would write for these options, as far as queries need it. */
function schemaOf(
  options: BetterAuthOptions,
  table: (name: string, columns: object) => unknown,
  columns: Record<"boolean" | "date" | "number" | "string", () => unknown>,
): NonNullable<DrizzleAdapterConfig["schema"]> {
  const entries = Object.values(getAuthTables(options)).map(({ modelName, fields }) => {
    const ofFields = Object.entries(fields).map(([name, { type }]) => [
      name,
      columns[type as keyof typeof columns](),
    ]);
    return [modelName, table(modelName, { id: columns.string(), ...Object.fromEntries(ofFields) })];
  });
  return Object.fromEntries(entries);
}
