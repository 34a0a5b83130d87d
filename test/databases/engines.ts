import { createDatabase, startPostgres } from "../app/harness/postgres";
import { openPostgres } from "../app/paths/postgres";
import { drizzleEngines } from "./drizzle";
import type { Engine } from "./engine";
import { mariaDbEngines } from "./mariadb";
import { memory } from "./memory";
import { prismaEngines } from "./prisma";
import { sqliteEngines } from "./sqlite";

const postgres = (transactions: boolean): Engine => ({
  name: `Kysely, PostgreSQL, ${transactions ? "transactions" : "no transactions"}`,
  shared: true,
  create: async (defer) => createDatabase(await startPostgres(defer), defer),
  open: (databaseUrl, defer) =>
    openPostgres(defer, { databaseUrl, withoutTransactions: !transactions }),
});

export const engines: readonly Engine[] = [
  postgres(true),
  postgres(false),
  ...drizzleEngines,
  ...prismaEngines,
  ...mariaDbEngines,
  ...sqliteEngines,
  memory,
];
