import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { withDeferred } from "../../fixtures/deferred";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import { bundleUnitTests } from "./bundle";
import type { Report } from "./run-tests";

const tests = bundleUnitTests("server", "console.log(JSON.stringify(await run()));");

/**
 * Runs the unit tests as a script that prints their report: `command` gets its path after `args`. It
 * is to end with an error when nobody handles a rejection.
 */
export async function runAsScript(command: string, ...args: string[]): Promise<Report> {
  return withDeferred(async (defer) => {
    const folder = await createTemporaryFolder(defer);
    const script = join(folder, "tests.mjs");
    await writeFile(script, await tests);
    const { stdout } = await promisify(execFile)(command, [...args, script], {
      cwd: folder,
      maxBuffer: Infinity,
    });
    return JSON.parse(stdout);
  });
}
