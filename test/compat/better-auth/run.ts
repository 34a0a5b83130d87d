import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { withDeferred, type Defer } from "../../fixtures/deferred";
import { node, npm } from "../../fixtures/npm";
import { createDatabase, startPostgres } from "../../fixtures/postgres";
import { green, red } from "../../fixtures/print";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import { linkNeighbours, root, tsc } from "../../package/installed";

/** The examples that need an older Better Auth than the tests have, by the scenario that runs them. */
const scenarios = {
  "members.ts": ["standard-events.ts", "seat-sync.ts", "stripe-webhook.ts", "recipes/loggers.ts"],
  "requests.ts": ["audit-log.ts", "recipes/in-background.ts"],
};

const test = join(root, "test");
const compilerOptions =
  "--strict --skipLibCheck --noEmit --module nodenext --target es2022 --lib es2022,dom --types node";
const { devDependencies } = JSON.parse(readFileSync(join(test, "package.json"), "utf8"));

// Each example with its oldest Better Auth and with the newest: compiled, and run.
await withDeferred(async (defer) => {
  const postgres = await startPostgres(defer);
  const folders = new Map<string, string>();
  for (const [scenario, examples] of Object.entries(scenarios)) {
    for (const version of [oldestOf(examples), devDependencies["better-auth"]]) {
      const folder = folders.get(version) ?? (await install(version, defer));
      folders.set(version, folder);
      const files = examples.map((path) => `examples/${path}`);
      const databaseUrl = await createDatabase(postgres, defer);
      const outcome = await node(folder, tsc, ...compilerOptions.split(" "), ...files)
        .then(() => node(folder, "--import", "tsx", `compat/better-auth/${scenario}`, databaseUrl))
        .then(() => green("ok"))
        .catch((error: Error) => red(error.message.slice(0, 3_000)));
      if (outcome !== green("ok")) process.exitCode = 1;
      console.log(`Better Auth ${version}: ${examples.join(", ")}: ${outcome}`);
    }
  }
});

/** The version that the first lines of these examples name. */
function oldestOf(examples: readonly string[]): string {
  const versions = examples.map((path) => {
    const text = readFileSync(join(test, "examples", path), "utf8");
    return /^\/\/ Needs Better Auth (1\.\d+(\.\d+)?)/m.exec(text)?.[1];
  });
  const [version, another] = new Set(versions);
  if (version && another === undefined) return version;
  throw new Error(`${examples.join(", ")} name ${versions.join(", ")} as the oldest Better Auth`);
}

/** Installs that Better Auth beside copies of the examples and of what runs them. */
async function install(version: string, defer: Defer): Promise<string> {
  const folder = await createTemporaryFolder(defer);
  const range = /^\d+\.\d+$/.test(version) ? `~${version}.0` : version;
  const dependencies = { "better-auth": range, pg: devDependencies.pg };
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module", dependencies }));
  await npm(folder, "install", "--no-audit", "--no-fund", "--no-package-lock");
  linkNeighbours(folder);
  for (const copied of ["compat/better-auth", "examples", "fixtures"]) {
    cpSync(join(test, copied), join(folder, copied), { recursive: true });
  }
  return folder;
}
