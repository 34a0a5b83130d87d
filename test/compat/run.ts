import { existsSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { heading } from "../fixtures/print";
import { tsc } from "../package/installed";

const parts = ["better-auth", "compilers", "databases", "hooks", "runtimes"];
const npm = process.env["npm_execpath"]!;
const installOptions = "--no-package-lock --legacy-peer-deps --no-audit --no-fund --loglevel error";

// The first argument may name the one part that runs; the others are for its script.
const [named, ...args] = process.argv.slice(2);
if (named !== undefined && !parts.includes(named)) {
  console.error(
    `There is no part "${named}": name one of ${parts.join(", ")}, or none to run all.`,
  );
  process.exit(1);
}
const failed = parts.filter((part) => (named ?? part) === part && !runs(part));
if (failed.length > 0) console.log(`\nfailed: ${failed.join(", ")}`);
process.exitCode = failed.length;

/** Installs what only this part needs, checks its types, and runs it. */
function runs(part: string): boolean {
  heading(part);
  const folder = join(import.meta.dirname, part);
  const has = (file: string) => existsSync(join(folder, file));
  const install = [npm, "install", "--prefix", folder, ...installOptions.split(" ")];
  return (
    (!has("package.json") || node(...install)) &&
    (!has("tsconfig.json") || node(tsc, "--project", folder)) &&
    node("--import", "tsx", join(folder, "run.ts"), ...args)
  );
}

function node(...args: string[]): boolean {
  return spawnSync(process.execPath, args, { stdio: "inherit" }).status === 0;
}
