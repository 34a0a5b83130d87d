import { getAuthTables, type DBFieldAttribute } from "@better-auth/core/db";
import type { BetterAuthOptions } from "better-auth";
import { migrate } from "../../fixtures/auth-server";
import { outsideOf, type Engine } from "../../membership-changes/database";
import { createMariaDb } from "./mariadb";
import { adaptedPostgres } from "./postgres";
import { createSqlite } from "./sqlite";

const drizzlePostgres = (transaction: boolean): Engine =>
  adaptedPostgres("Drizzle", transaction, async (options, pool) => {
    const { drizzle } = await import("drizzle-orm/node-postgres");
    const { drizzleAdapter } = await import("@better-auth/drizzle-adapter");
    const { bigint, boolean, jsonb, pgTable, text, timestamp } =
      await import("drizzle-orm/pg-core");
    const schema = tablesOf(options, pgTable as never, {
      id: () => text("id").primaryKey(),
      boolean,
      date: (name) => timestamp(name, { withTimezone: true }),
      json: jsonb,
      number: (name) => bigint(name, { mode: "number" }),
      text,
    });
    return drizzleAdapter(drizzle(pool, { schema }), { provider: "pg", schema, transaction });
  });

const drizzleMariaDb: Engine = {
  name: "Drizzle, MariaDB",
  async open(defer) {
    const { drizzle } = await import("drizzle-orm/mysql2");
    const { drizzleAdapter } = await import("@better-auth/drizzle-adapter");
    const { bigint, boolean, mysqlTable, text, timestamp, varchar } =
      await import("drizzle-orm/mysql-core");
    const connect = await createMariaDb(defer);
    return {
      transactions: true,
      outside: await outsideOf(connect()),
      async connect(options) {
        const pool = connect();
        await migrate({ ...options, database: pool });
        const schema = tablesOf(options, mysqlTable as never, {
          id: () => varchar("id", { length: 36 }).primaryKey(),
          boolean,
          date: (name) => timestamp(name, { fsp: 3 }),
          json: text,
          number: (name) => bigint(name, { mode: "number" }),
          text,
        });
        const database = drizzle(pool as never, { schema, mode: "default" });
        return drizzleAdapter(database, { provider: "mysql", schema, transaction: true });
      },
    };
  },
};

/** Drizzle's transactions of better-sqlite3 cannot await anything. */
const drizzleSqlite: Engine = {
  name: "Drizzle, SQLite, no transactions",
  async open(defer) {
    const { drizzle } = await import("drizzle-orm/better-sqlite3");
    const { drizzleAdapter } = await import("@better-auth/drizzle-adapter");
    const { integer, sqliteTable, text } = await import("drizzle-orm/sqlite-core");
    const connect = await createSqlite(defer);
    return {
      transactions: false,
      outside: await outsideOf(connect()),
      async connect(options) {
        await migrate({ ...options, database: connect() });
        const schema = tablesOf(options, sqliteTable as never, {
          id: () => text("id").primaryKey(),
          boolean: (name) => integer(name, { mode: "boolean" }),
          date: (name) => integer(name, { mode: "timestamp_ms" }),
          json: text,
          number: integer,
          text,
        });
        return drizzleAdapter(drizzle(connect(), { schema }), { provider: "sqlite", schema });
      },
    };
  },
};

export const drizzleEngines: readonly Engine[] = [
  drizzlePostgres(true),
  drizzlePostgres(false),
  drizzleMariaDb,
  drizzleSqlite,
];

type Column = (name: string) => unknown;
interface Columns extends Record<"boolean" | "date" | "json" | "number" | "text", Column> {
  id(): unknown;
}

/** What the command line of Better Auth would write for these options. */
function tablesOf(
  options: BetterAuthOptions,
  table: (name: string, columns: Record<string, unknown>) => unknown,
  columns: Columns,
): Record<string, unknown> {
  const column = (name: string, { type }: DBFieldAttribute) => {
    if (type === "boolean" || type === "date" || type === "number") return columns[type](name);
    return type === "string" || Array.isArray(type) ? columns.text(name) : columns.json(name);
  };
  const entries = Object.values(getAuthTables(options)).map(({ modelName, fields }) => {
    const ofFields = Object.entries(fields).map(([key, field]) => {
      const name = field.fieldName ?? key;
      return [name, column(name, field)] as const;
    });
    const ofTable = { id: columns.id(), ...Object.fromEntries(ofFields) };
    return [modelName, table(modelName, ofTable)] as const;
  });
  return Object.fromEntries(entries);
}
