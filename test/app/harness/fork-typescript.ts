import { fork, type ChildProcess, type ForkOptions } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

/** Runs a TypeScript module in a process of its own, to which it has a channel. */
export function forkTypeScript(module: URL, options: ForkOptions): ChildProcess {
  return fork(fileURLToPath(module), { ...options, execArgv: ["--import", tsx] });
}
