import { createKyselyAdapter } from "@better-auth/kysely-adapter";
import type { BetterAuthOptions } from "better-auth";
import type { Kysely } from "kysely";
import type pg from "pg";
import { migrate } from "../fixtures/auth-server";
import type { Defer } from "../fixtures/deferred";
import { createDatabase, createPool, startPostgres } from "../fixtures/postgres";
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
  /** Reads the tables on a connection of its own. */
  readTables(): Promise<Tables>;
}

export interface SqlOptions<Connection> {
  /** True by default. */
  transactions?: boolean;
  serialIds?: boolean;
  /** Makes the adapter of a connection, to a database with all tables; Better Auth's own by default. */
  adapt?(connection: Connection, options: BetterAuthOptions): Promise<DatabaseOption>;
}

/** A SQL database, to which `connect` makes a connection for each server, and one that reads the tables. */
export async function sqlDatabase<Connection extends DatabaseOption>(
  connect: () => Connection,
  { transactions = true, serialIds = false, adapt }: SqlOptions<Connection> = {},
): Promise<Database> {
  return {
    transactions,
    serialIds,
    readTables: await readerOf(connect()),
    async connect(options) {
      const database = connect();
      await migrate({ ...options, database });
      return adapt ? adapt(database, options) : database;
    },
  };
}

/** PostgreSQL, by way of Better Auth's own adapter by default. */
export async function openPostgres(
  defer: Defer,
  { connections = 10, ...options }: SqlOptions<pg.Pool> & { connections?: number } = {},
) {
  const url = await createDatabase(await startPostgres(defer), defer);
  const connect = (max = connections) => {
    const pool = createPool(url, { max });
    defer(() => pool.end());
    return pool;
  };
  const database = await sqlDatabase(() => connect(), options);
  // On connections of its own, so that it sees what others see.
  return { ...database, url, pool: connect(4) };
}

async function readerOf(option: DatabaseOption): Promise<Database["readTables"]> {
  const { kysely } = await createKyselyAdapter({ database: option });
  const database = kysely as Kysely<Record<string, Record<string, unknown>>>;
  return async () => {
    const members = await database.selectFrom("member").selectAll().execute();
    return toTables(members, await database.selectFrom("user").select("id").execute());
  };
}
