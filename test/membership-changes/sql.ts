import { createKyselyAdapter } from "@better-auth/kysely-adapter";
import { sql, type Kysely } from "kysely";
import { migrate } from "../fixtures/auth-server";
import type { Database, DatabaseOption, Outside } from "./database";
import { toTables } from "./expected";

type AnyTables = Record<string, Record<string, unknown>>;

/** A database that Better Auth's own adapter writes to, on a connection for each server. */
export async function databaseOf(
  connect: () => DatabaseOption,
  transactions = true,
): Promise<Database> {
  return {
    transactions,
    outside: await outsideOf(connect()),
    async connect(options) {
      const database = connect();
      await migrate({ ...options, database });
      return database;
    },
  };
}

/** Reads a SQL database, whichever it is. */
export async function outsideOf(option: DatabaseOption): Promise<Outside> {
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
  };
}
