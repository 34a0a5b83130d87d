import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { getAuthTables } from "@better-auth/core/db";
import { prismaAdapter } from "@better-auth/prisma-adapter";
import { PrismaPg } from "@prisma/adapter-pg";
import type { BetterAuthOptions } from "better-auth";
import type { Defer } from "../../fixtures/deferred";
import { node } from "../../fixtures/npm";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import { openPostgres, type Engine } from "../../membership-changes/database";

const onPostgres = (transaction: boolean): Engine => ({
  name: `Prisma, PostgreSQL${transaction ? "" : ", no transactions"}`,
  open: (defer) =>
    openPostgres(defer, {
      transactions: transaction,
      async adapt(pool, options) {
        const PrismaClient = await generateClient(schemaOf(options), defer);
        const { connectionString } = pool.options;
        const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString, max: 10 }) });
        defer(() => prisma.$disconnect());
        return prismaAdapter(prisma, { provider: "postgresql", transaction });
      },
    }),
});

export const prismaEngines: readonly Engine[] = [onPostgres(true), onPostgres(false)];

type PrismaClient = new (options: object) => { $disconnect(): Promise<void> };

/** What `prisma generate` makes of the schema. */
async function generateClient(schema: string, defer: Defer): Promise<PrismaClient> {
  // Where the client finds the runtime that it needs.
  const modules = join(import.meta.dirname, "node_modules");
  const folder = await createTemporaryFolder(defer, modules);
  await writeFile(join(folder, "schema.prisma"), schema);
  // Any file will do: it would download an engine that only migrations use.
  process.env["PRISMA_SCHEMA_ENGINE_BINARY"] = process.execPath;
  process.env["CHECKPOINT_DISABLE"] = "1";
  const cli = createRequire(import.meta.url).resolve("prisma/build/index.js");
  await node(folder, cli, "generate", "--schema=schema.prisma");
  return (await import(pathToFileURL(join(folder, "client", "client.ts")).href)).PrismaClient;
}

const types: Record<string, string> = {
  boolean: "Boolean",
  date: "DateTime",
  number: "Int",
  string: "String",
};

/** What the command line of Better Auth would write for these options, without the relations. */
function schemaOf(options: BetterAuthOptions): string {
  const models = Object.values(getAuthTables(options)).map(({ modelName, fields }) => {
    const lines = Object.entries(fields).map(([name, { type, required, unique }]) => {
      const native = type === "date" ? " @db.Timestamptz(6)" : "";
      const optional = required === false ? "?" : "";
      return `  ${name} ${types[String(type)]}${optional}${unique ? " @unique" : ""}${native}`;
    });
    return [`model ${modelName} {`, "  id String @id", ...lines, "}"].join("\n");
  });
  return [
    'generator client {\n  provider = "prisma-client"\n  output = "./client"\n}',
    'datasource db {\n  provider = "postgresql"\n}',
    ...models,
  ].join("\n\n");
}
