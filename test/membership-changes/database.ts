import type { BetterAuthOptions } from "better-auth";
import type { Tables } from "./expected";

export type DatabaseOption = NonNullable<BetterAuthOptions["database"]>;

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

/** Reads and fills the tables past Better Auth, and on a connection of its own. */
export interface Outside {
  readTables(): Promise<Tables>;
  /** How many rows each table has. */
  countRows(): Promise<Record<string, number>>;
  /** How many rows of that table have these values. */
  count(table: string, values: Record<string, string>): Promise<number>;
  /** Returns the ids of the new rows, in their order. */
  insert(table: string, rows: readonly Record<string, unknown>[]): Promise<string[]>;
}

/** The tables that a change of members, or the deletion of a user, may concern. */
export const tables = [
  "user",
  "session",
  "account",
  "organization",
  "member",
  "invitation",
  "team",
  "teamMember",
] as const;
