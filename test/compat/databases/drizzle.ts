import { join } from "node:path";
import { getAuthTables, type DBFieldAttribute } from "@better-auth/core/db";
import type { BetterAuthOptions } from "better-auth";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import { encodeForSqlite, migrate, outsideOf } from "../../membership-changes/sql";
import type { Engine } from "./engine";
import { adaptedPostgres } from "./postgres";

const drizzlePostgres = (transactions: boolean): Engine =>
  adaptedPostgres("Drizzle", transactions, async (options, pool) => {
    const { drizzle } = await import("drizzle-orm/node-postgres");
    const { drizzleAdapter } = await import("@better-auth/drizzle-adapter");
    const schema = await postgresSchema(options);
    const database = drizzle(pool, { schema });
    return drizzleAdapter(database, { provider: "pg", schema, transaction: transactions });
  });

const drizzleLibsql: Engine = {
  name: "Drizzle, libsql, transactions",
  shared: false,
  create: async (defer) => join(await createTemporaryFolder(defer), "database"),
  async open(path, defer) {
    const { createLibsqlClient } = await import("./libsql-client");
    const { LibsqlDialect } = await import("@libsql/kysely-libsql");
    const { drizzle } = await import("drizzle-orm/libsql");
    const { drizzleAdapter } = await import("@better-auth/drizzle-adapter");
    const connect = () => createLibsqlClient(path, defer);
    const kysely = () =>
      ({ dialect: new LibsqlDialect({ client: connect() as never }), type: "sqlite" }) as never;
    return {
      transactions: true,
      outside: await outsideOf(kysely(), { encode: encodeForSqlite }),
      async connect(options) {
        await migrate({ ...options, database: kysely() });
        const schema = await sqliteSchema(options);
        return drizzleAdapter(drizzle(connect(), { schema }), {
          provider: "sqlite",
          schema,
          transaction: true,
        });
      },
    };
  },
};

export const drizzleEngines: readonly Engine[] = [
  drizzlePostgres(true),
  drizzlePostgres(false),
  drizzleLibsql,
];

/** What the command line of Better Auth would write for these options. */
async function postgresSchema(options: BetterAuthOptions) {
  const { boolean, bigint, integer, jsonb, pgTable, text, timestamp } =
    await import("drizzle-orm/pg-core");
  return tablesOf(options, (name, columns) => pgTable(name, columns as never), {
    id: () => text("id").primaryKey(),
    column(name, { type, bigint: isBig }) {
      if (type === "boolean") return boolean(name);
      if (type === "date") return timestamp(name, { withTimezone: true });
      if (type === "number") return isBig ? bigint(name, { mode: "number" }) : integer(name);
      return type === "json" || type === "string[]" || type === "number[]"
        ? jsonb(name)
        : text(name);
    },
  });
}

async function sqliteSchema(options: BetterAuthOptions) {
  const { integer, sqliteTable, text } = await import("drizzle-orm/sqlite-core");
  return tablesOf(options, (name, columns) => sqliteTable(name, columns as never), {
    id: () => text("id").primaryKey(),
    column(name, { type }) {
      if (type === "boolean") return integer(name, { mode: "boolean" });
      if (type === "date") return integer(name, { mode: "timestamp_ms" });
      return type === "number" ? integer(name) : text(name);
    },
  });
}

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
