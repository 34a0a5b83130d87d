import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { withDeferred, type Defer } from "../../fixtures/deferred";
import { node, npm } from "../../fixtures/npm";
import { createDatabase, startPostgres } from "../../fixtures/postgres";
import { green, red } from "../../fixtures/print";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";

/** The examples that need Better Auth, by the scenario that runs them. */
const scenarios = {
  "members.ts": ["standard-events.ts", "seat-sync.ts", "recipes/loggers.ts"],
  "requests.ts": ["audit-log.ts", "recipes/in-background.ts"],
  "after-commit.ts": ["recipes/after-commit.ts"],
};

const test = fileURLToPath(new URL("../..", import.meta.url));
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const compilerOptions =
  "--strict --skipLibCheck --noEmit --module nodenext --target es2022 --lib es2022,dom --types node";
const { devDependencies } = JSON.parse(readFileSync(join(test, "package.json"), "utf8"));
const newest: string = devDependencies["better-auth"];

// Each example with its oldest Better Auth and with the newest: compiled, and run.
await withDeferred(async (defer) => {
  const postgres = await startPostgres(defer);
  const folders = new Map<string, string>();
  for (const [scenario, examples] of Object.entries(scenarios)) {
    for (const version of new Set([oldestOf(examples), newest])) {
      const folder = folders.get(version) ?? (await install(version, defer));
      folders.set(version, folder);
      const outcome = await run(scenario, examples, folder, await createDatabase(postgres, defer));
      console.log(`Better Auth ${version}: ${examples.join(", ")}: ${outcome}`);
    }
  }
});

/** The version that the first lines of these examples name. */
function oldestOf(examples: readonly string[]): string {
  const versions = examples.map((path) => {
    const text = readFileSync(join(test, "examples", path), "utf8");
    const [comment] = /^(?:\/\/.*\n)*/.exec(text)!;
    return /Better Auth (1\.\d+(\.\d+)?)/.exec(comment)?.[1];
  });
  const [version, another] = new Set(versions);
  if (version && another === undefined) return version;
  throw new Error(`${examples.join(", ")} name ${versions.join(", ")} as the oldest Better Auth`);
}

/** Installs that Better Auth beside copies of the examples. */
async function install(version: string, defer: Defer): Promise<string> {
  const folder = await createTemporaryFolder(defer);
  const range = /^\d+\.\d+$/.test(version) ? `~${version}.0` : version;
  const dependencies = { "better-auth": range, pg: devDependencies.pg };
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module", dependencies }));
  await npm(folder, "install", "--no-audit", "--no-fund", "--no-package-lock");
  // What the examples import besides is what this repository has installed.
  for (const name of ["@kernia/events", "@types/node", "@types/pg", "pino", "winston", "stripe"]) {
    const link = join(folder, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    if (!existsSync(link)) symlinkSync(join(test, "../node_modules", name), link, "junction");
  }
  cpSync(join(test, "examples"), join(folder, "examples"), { recursive: true });
  return folder;
}

async function run(
  scenario: string,
  examples: readonly string[],
  folder: string,
  databaseUrl: string,
): Promise<string> {
  try {
    const files = examples.map((path) => `examples/${path}`);
    await node(folder, tsc, ...compilerOptions.split(" "), "--pretty", "false", ...files);
    const outfile = join(folder, scenario.replace(".ts", ".mjs"));
    await build({
      entryPoints: [join(test, "compat/better-auth", scenario)],
      outfile,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node20",
      external: ["better-auth", "@better-auth/core", "pg", "pino"],
      // What of it is CommonJS, the Stripe SDK for one, requires Node's modules.
      banner: {
        js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);`,
      },
    });
    await node(folder, outfile, databaseUrl);
    return green("ok");
  } catch (error) {
    process.exitCode = 1;
    return red((error as Error).message.slice(0, 3_000));
  }
}
