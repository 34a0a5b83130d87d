import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { withDeferred, type Defer } from "../app/harness/deferred";
import { npm } from "../app/harness/npm";
import { createDatabase, startPostgres } from "../app/harness/postgres";
import { green, red } from "../app/harness/print";
import { createTemporaryFolder } from "../app/harness/temporary-folder";

const { devDependencies } = createRequire(import.meta.url)("../package.json");
const versions = ["~1.3.0", "~1.4.0", "~1.5.0", "~1.6.0", devDependencies["better-auth"]];
const mostCharacters = 2_000;
const run = promisify(execFile);

const failures = await withDeferred(async (defer) => {
  const postgres = await startPostgres(defer);
  let failures = 0;
  for (const version of versions) {
    try {
      const folder = await install(version, defer);
      const outcomes: string[] = [];
      for (const options of [[], ["--serial-ids"]]) {
        const env = { ...process.env, DATABASE_URL: await createDatabase(postgres, defer) };
        const scenario = ["scenario.mjs", ...options];
        const { stdout } = await run(process.execPath, scenario, { cwd: folder, env });
        outcomes.push(lastLine(stdout));
      }
      console.log(`Better Auth ${await installed(folder)}: ${green(outcomes.join("; "))}`);
    } catch (error) {
      failures++;
      const { stderr, message } = error as { stderr?: string; message: string };
      console.log(`Better Auth ${version}: ${red("failed")}`);
      console.log((stderr || message).slice(0, mostCharacters));
    }
  }
  return failures;
});
process.exitCode = failures === 0 ? 0 : 1;

/** Installs the newest Better Auth of that range in a new folder, and the scenario with it. */
async function install(version: string, defer: Defer): Promise<string> {
  const folder = await createTemporaryFolder(defer);
  const dependencies = { "better-auth": version, pg: devDependencies.pg };
  await writeFile(join(folder, "package.json"), JSON.stringify({ private: true, dependencies }));
  await npm(folder, "install", "--no-audit", "--no-fund", "--no-package-lock");
  await build({
    entryPoints: [fileURLToPath(new URL("scenario.ts", import.meta.url))],
    outfile: join(folder, "scenario.mjs"),
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    external: ["better-auth", "pg"],
    // What of it is CommonJS, the Stripe SDK for one, requires Node's modules.
    banner: {
      js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);`,
    },
  });
  return folder;
}

async function installed(folder: string): Promise<string> {
  const { resolve } = createRequire(join(folder, "scenario.mjs"));
  const [, modules] = /^(.*[\\/]node_modules[\\/]better-auth)[\\/]/.exec(resolve("better-auth"))!;
  return JSON.parse(await readFile(join(modules!, "package.json"), "utf8")).version;
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1)!;
}
