import { execFile } from "node:child_process";
import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { withDeferred, type Defer } from "../../fixtures/deferred";
import { npm } from "../../fixtures/npm";
import { createDatabase, startPostgres } from "../../fixtures/postgres";
import { bold, dim, green, red } from "../../fixtures/print";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import { examples, folder as examplesFolder, type Example } from "./examples";

const { devDependencies } = createRequire(import.meta.url)("../package.json");
const { resolve } = createRequire(import.meta.url);
const newest: string = devDependencies["better-auth"];
const lines = ["1.3", "1.4", "1.5", "1.6", /^\d+\.\d+/.exec(newest)![0]];
const modules = fileURLToPath(new URL("../../../node_modules", import.meta.url));
const mostCharacters = 2_000;
const columnWidth = 10;
const run = promisify(execFile);

// Each example, from its lowest version to the newest: compiled there, and run there.
const failures = await withDeferred(async (defer) => {
  const postgres = await startPostgres(defer);
  const failures: string[] = [];
  const versions: string[] = [];
  const outcomes = new Map(examples.map(({ path }) => [path, [] as string[]]));
  for (const [index, line] of lines.entries()) {
    const folder = await install(line === lines.at(-1) ? newest : `~${line}.0`, defer);
    const version = await installed(folder);
    versions.push(version);
    const here = examples.filter(({ lowest }) => lines.indexOf(lowest) <= index);
    const said = await compile(folder, here);
    for (const example of examples) {
      const outcome = here.includes(example)
        ? said(example) || (await runExample(folder, example))
        : "–";
      if (outcome !== "–" && outcome !== "") {
        failures.push(`${example.path} with Better Auth ${version}:\n${outcome}`);
      }
      outcomes.get(example.path)!.push(outcome);
    }
  }

  console.log(`\n${"".padEnd(26)}${versions.map((version) => column(version, bold)).join("")}`);
  for (const [path, row] of outcomes) console.log(`${path.padEnd(26)}${row.map(cell).join("")}`);
  console.log(dim("ok: compiles, and does what it promises. –: needs a newer one, and says so."));
  return failures;

  async function runExample(folder: string, { script, runs }: Example): Promise<string> {
    try {
      const bundled = await bundle(script, folder);
      for (const options of runs) {
        const env = { ...process.env, DATABASE_URL: await createDatabase(postgres, defer) };
        await run(process.execPath, [bundled, ...options], { cwd: folder, env });
      }
      return "";
    } catch (error) {
      return messageOf(error);
    }
  }
});
for (const failure of failures) console.log(`\n${red("failed")}: ${failure}`);
process.exitCode = failures.length === 0 ? 0 : 1;

function column(text: string, style: (text: string) => string): string {
  return style(text) + " ".repeat(columnWidth - text.length);
}

function cell(outcome: string): string {
  if (outcome === "–") return column(outcome, dim);
  return outcome === "" ? column("ok", green) : column("failed", red);
}

/** Installs that Better Auth in a new folder, beside copies of the examples. */
async function install(version: string, defer: Defer): Promise<string> {
  const folder = await createTemporaryFolder(defer);
  const dependencies = { "better-auth": version, pg: devDependencies.pg };
  const manifest = { private: true, type: "module", dependencies };
  await writeFile(join(folder, "package.json"), JSON.stringify(manifest));
  await npm(folder, "install", "--no-audit", "--no-fund", "--no-package-lock");
  // What the examples import besides is what this repository has installed.
  for (const name of ["@kernia/events", "@types/node", "@types/pg", "pino", "winston", "stripe"]) {
    const path = join(folder, "node_modules", name);
    await mkdir(join(path, ".."), { recursive: true });
    await symlink(join(modules, name), path, "junction").catch((error) => {
      if (error.code !== "EEXIST") throw error;
    });
  }
  await cp(fileURLToPath(examplesFolder), join(folder, "examples"), { recursive: true });
  return folder;
}

/** Compiles these examples, and returns what the compiler said of each. */
async function compile(folder: string, here: readonly Example[]) {
  const compilerOptions = {
    target: "es2022",
    lib: ["es2022", "dom"],
    types: ["node"],
    module: "nodenext",
    strict: true,
    skipLibCheck: true,
    noEmit: true,
  };
  const files = here.map(({ path }) => `examples/${path}`);
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
  const tsc = [resolve("typescript/bin/tsc"), "--project", ".", "--pretty", "false"];
  const said = await run(process.execPath, tsc, { cwd: folder }).then(
    () => "",
    ({ stdout }: { stdout: string }) => stdout,
  );
  const known = files.some((file) => said.includes(file));
  // What is said of no example is said of all.
  return ({ path }: Example) =>
    known ? errorsOf(said, `examples/${path}`) : said.slice(0, mostCharacters);
}

function errorsOf(said: string, file: string): string {
  return said
    .split("\n")
    .filter((line) => line.startsWith(file))
    .join("\n");
}

async function bundle(script: string, folder: string): Promise<string> {
  const outfile = join(folder, script.replace(".ts", ".mjs"));
  await build({
    entryPoints: [fileURLToPath(new URL(script, import.meta.url))],
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
  return outfile;
}

async function installed(folder: string): Promise<string> {
  const { resolve } = createRequire(join(folder, "any.mjs"));
  const [, path] = /^(.*[\\/]node_modules[\\/]better-auth)[\\/]/.exec(resolve("better-auth"))!;
  return JSON.parse(await readFile(join(path!, "package.json"), "utf8")).version;
}

function messageOf(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message: string };
  return (stderr || message).slice(0, mostCharacters);
}
