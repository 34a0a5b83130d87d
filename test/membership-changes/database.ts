import { createKyselyAdapter } from "@better-auth/kysely-adapter";
import type { BetterAuthOptions } from "better-auth";
import { sql, type Kysely } from "kysely";
import { migrate } from "../fixtures/auth-server";
import type { Defer } from "../fixtures/deferred";
import { toTables, type Tables } from "./expected";

export type DatabaseOption = NonNullable<BetterAuthOptions["database"]>;

/** A database with an adapter, as users of Better Auth have it. */
export interface Engine {
  readonly name: string;
  /** Creates a new database, which is removed at the end. */
  open(defer: Defer): Promise<Database>;
}

/** What Better Auth writes to, and what others see of it. */
export interface Database {
  /** Whether several changes can be made as one. */
  readonly transactions: boolean;
  /** Whether memberships outlive their user and their organization. */
  readonly keepsMemberships?: boolean;
  /** Whether it numbers its rows itself. */
  readonly serialIds?: boolean;
  /** Makes the tables that these options call for, and returns what is their `database`. */
  connect(options: BetterAuthOptions): Promise<DatabaseOption>;
  readonly outside: Outside;
}

/** Reads the tables on a connection of its own. */
export interface Outside {
  readTables(): Promise<Tables>;
  /** How many rows of that table have these values. */
  count(table: string, values: Record<string, string>): Promise<number>;
}

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
