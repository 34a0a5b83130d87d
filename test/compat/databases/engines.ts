import { drizzleEngines } from "./drizzle";
import type { Engine } from "./engine";
import { mariaDbEngines } from "./mariadb";
import { memory } from "./memory";
import { postgresEngines } from "./postgres";
import { prismaEngines } from "./prisma";
import { sqliteEngines } from "./sqlite";

export const engines: readonly Engine[] = [
  ...postgresEngines,
  ...drizzleEngines,
  ...prismaEngines,
  ...mariaDbEngines,
  ...sqliteEngines,
  memory,
];
