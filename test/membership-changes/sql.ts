import { randomUUID } from "node:crypto";
import type { BetterAuthOptions } from "better-auth";
import { createKyselyAdapter } from "@better-auth/kysely-adapter";
import { getMigrations } from "better-auth/db/migration";
import { sql, type Kysely } from "kysely";
import { tables, type Database, type DatabaseOption, type Outside } from "./database";
import { toTables } from "./expected";

type AnyTables = Record<string, Record<string, unknown>>;

export interface SqlOptions {
  serialIds?: boolean;
  /** A database bounds the number of values in a statement. */
  mostValues?: number;
  /** What the driver is given for a value that it does not take as it is. */
  encode?: (value: unknown) => unknown;
}

/** A database that Better Auth's own adapter writes to, on a connection for each server. */
export async function databaseOf(
  connect: () => DatabaseOption,
  { transactions = true, ...options }: SqlOptions & { transactions?: boolean } = {},
): Promise<Database> {
  return {
    transactions,
    outside: await outsideOf(connect(), options),
    async connect(options) {
      const database = connect();
      await migrate({ ...options, database });
      return database;
    },
  };
}

export async function migrate(options: BetterAuthOptions): Promise<void> {
  await (await getMigrations(options)).runMigrations();
}

/** SQLite has neither booleans nor dates, and Better Auth writes them like this. */
export function encodeForSqlite(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString();
  return typeof value === "boolean" ? Number(value) : value;
}

/** Reads and fills a SQL database, whichever it is. */
export async function outsideOf(
  option: DatabaseOption,
  { serialIds = false, mostValues = 5_000, encode = (value) => value }: SqlOptions = {},
): Promise<Outside> {
  const { kysely } = await createKyselyAdapter({ database: option });
  const database = kysely as Kysely<AnyTables>;
  return {
    async readTables() {
      const text = (value: string | null) => sql<string>`${sql.lit(value)}`;
      // One statement, so that both are of the same moment.
      const rows = await database
        .selectFrom("member")
        .select([text("member").as("table"), "id", "organizationId", "userId", "role"])
        .unionAll(
          database
            .selectFrom("user")
            .select([
              text("user").as("table"),
              "id",
              text(null).as("organizationId"),
              text(null).as("userId"),
              text(null).as("role"),
            ]),
        )
        .execute();
      const of = (table: string) => rows.filter((row) => row.table === table);
      return toTables(of("member"), of("user"));
    },

    async countRows() {
      const counts = tables.map((table) => {
        const count = database.selectFrom(table).select(({ fn }) => fn.countAll().as("count"));
        return count.as(table);
      });
      const row = await database.selectNoFrom(counts).executeTakeFirstOrThrow();
      return Object.fromEntries(tables.map((table) => [table, Number(row[table])]));
    },

    async count(table, values) {
      const { count } = await database
        .selectFrom(table)
        .select(({ fn }) => fn.countAll().as("count"))
        .where(({ and, eb }) =>
          and(Object.entries(values).map(([column, value]) => eb(column, "=", value))),
        )
        .executeTakeFirstOrThrow();
      return Number(count);
    },

    async insert(table, rows) {
      const ids: string[] = [];
      const perStatement = Math.floor(mostValues / (Object.keys(rows[0] ?? {}).length + 1));
      for (let from = 0; from < rows.length; from += perStatement) {
        const some = rows
          .slice(from, from + perStatement)
          .map((row) =>
            Object.fromEntries(
              Object.entries({ ...(!serialIds && { id: randomUUID() }), ...row }).map(
                ([column, value]) => [column, encode(value)],
              ),
            ),
          );
        const insert = database.insertInto(table).values(some);
        const inserted = serialIds
          ? await insert.returning("id").execute()
          : (await insert.execute(), some);
        ids.push(...inserted.map(({ id }) => String(id)));
      }
      return ids;
    },
  };
}
