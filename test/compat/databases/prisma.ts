import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { getAuthTables, type DBFieldAttribute } from "@better-auth/core/db";
import type { BetterAuthOptions } from "better-auth";
import type { Engine } from "../../membership-changes/database";
import { adaptedPostgres } from "./postgres";

const run = promisify(execFile);
/** Where the clients find the runtime that they need. */
const clients = fileURLToPath(new URL("node_modules/.prisma-clients/", import.meta.url));

const prismaPostgres = (transactions: boolean): Engine =>
  adaptedPostgres("Prisma", transactions, async (options, _, url, defer) => {
    const { PrismaPg } = await import("@prisma/adapter-pg");
    const { prismaAdapter } = await import("@better-auth/prisma-adapter");
    const PrismaClient = await generateClient(schemaOf(options));
    const adapter = new PrismaPg({ connectionString: url, max: 10 });
    const prisma = new PrismaClient({ adapter });
    defer(() => prisma.$disconnect());
    return prismaAdapter(prisma, { provider: "postgresql", transaction: transactions });
  });

export const prismaEngines: readonly Engine[] = [prismaPostgres(true), prismaPostgres(false)];

type PrismaClient = new (options: object) => { $disconnect(): Promise<void> };

/** What `prisma generate` makes of the schema. */
async function generateClient(schema: string): Promise<PrismaClient> {
  const folder = join(clients, createHash("sha256").update(schema).digest("hex").slice(0, 16));
  const file = join(folder, "schema.prisma");
  await mkdir(folder, { recursive: true });
  await writeFile(file, schema);
  const cli = createRequire(import.meta.url).resolve("prisma/build/index.js");
  // Any file will do: it would download an engine that only migrations use.
  const unused = { PRISMA_SCHEMA_ENGINE_BINARY: process.execPath };
  const env = { ...process.env, ...unused, CHECKPOINT_DISABLE: "1" };
  await run(process.execPath, [cli, "generate", `--schema=${file}`], { cwd: folder, env });
  return (await import(pathToFileURL(join(folder, "client", "client.ts")).href)).PrismaClient;
}

/** What the command line of Better Auth would write for these options, without the relations. */
function schemaOf(options: BetterAuthOptions): string {
  const models = Object.values(getAuthTables(options)).map(({ modelName, fields }) => {
    const lines = Object.entries(fields).map(([key, field]) => {
      const type = `${typeOf(field)}${field.required === false ? "?" : ""}`;
      return `  ${field.fieldName ?? key} ${type}${field.unique ? " @unique" : ""}${nativeOf(field)}`;
    });
    return [`model ${modelName} {`, "  id String @id", ...lines, "}"].join("\n");
  });
  return [
    'generator client {\n  provider = "prisma-client"\n  output = "./client"\n}',
    'datasource db {\n  provider = "postgresql"\n}',
    ...models,
  ].join("\n\n");
}

function typeOf({ type, bigint }: DBFieldAttribute): string {
  if (type === "boolean") return "Boolean";
  if (type === "date") return "DateTime";
  if (type === "number") return bigint ? "BigInt" : "Int";
  return type === "json" || type === "string[]" || type === "number[]" ? "Json" : "String";
}

const nativeOf = ({ type }: DBFieldAttribute) => (type === "date" ? " @db.Timestamptz(6)" : "");
