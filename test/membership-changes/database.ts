import type { BetterAuthOptions } from "better-auth";
import type { Defer } from "../fixtures/deferred";
import type { Tables } from "./expected";

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
