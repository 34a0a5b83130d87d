import { getAuthTables, type DBFieldAttribute } from "@better-auth/core/db";
import type { BetterAuthOptions } from "better-auth";
import { migrate, outsideOf } from "../../membership-changes/sql";
import type { Engine } from "../../membership-changes/database";
import { createMariaDb } from "./mariadb";
import { adaptedPostgres } from "./postgres";
import { createSqlite } from "./sqlite";

const drizzlePostgres = (transaction: boolean): Engine =>
  adaptedPostgres("Drizzle", transaction, async (options, pool) => {
    const { drizzle } = await import("drizzle-orm/node-postgres");
    const { drizzleAdapter } = await import("@better-auth/drizzle-adapter");
    const { boolean, bigint, integer, jsonb, pgTable, text, timestamp } =
      await import("drizzle-orm/pg-core");
    const schema = tablesOf(options, pgTable as never, {
      id: () => text("id").primaryKey(),
      column(name, { type, bigint: isBig }) {
        if (type === "boolean") return boolean(name);
        if (type === "date") return timestamp(name, { withTimezone: true });
        if (type === "number") return isBig ? bigint(name, { mode: "number" }) : integer(name);
        return isJson(type) ? jsonb(name) : text(name);
      },
    });
    return drizzleAdapter(drizzle(pool, { schema }), { provider: "pg", schema, transaction });
  });

const drizzleMariaDb: Engine = {
  name: "Drizzle, MariaDB",
  async open(defer) {
    const { drizzle } = await import("drizzle-orm/mysql2");
    const { drizzleAdapter } = await import("@better-auth/drizzle-adapter");
    const { boolean, int, mysqlTable, text, timestamp, varchar } =
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
          column(name, { type }) {
            if (type === "boolean") return boolean(name);
            if (type === "date") return timestamp(name, { fsp: 3 });
            return type === "number" ? int(name) : text(name);
          },
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
          column(name, { type }) {
            if (type === "boolean") return integer(name, { mode: "boolean" });
            if (type === "date") return integer(name, { mode: "timestamp_ms" });
            return type === "number" ? integer(name) : text(name);
          },
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

/** What the command line of Better Auth would write for these options. */
function tablesOf(
  options: BetterAuthOptions,
  table: (name: string, columns: Record<string, unknown>) => unknown,
  { id, column }: { id(): unknown; column(name: string, field: DBFieldAttribute): unknown },
): Record<string, unknown> {
  const entries = Object.values(getAuthTables(options)).map(({ modelName, fields }) => {
    const columns = Object.entries(fields).map(([key, field]) => {
      const name = field.fieldName ?? key;
      return [name, column(name, field)] as const;
    });
    return [modelName, table(modelName, { id: id(), ...Object.fromEntries(columns) })] as const;
  });
  return Object.fromEntries(entries);
}

function isJson(type: DBFieldAttribute["type"]): boolean {
  return type === "json" || type === "string[]" || type === "number[]";
}
