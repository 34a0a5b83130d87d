import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Runs the npm that runs us, else the one on the path, and returns what it prints. */
export async function npm(cwd: string, ...args: string[]): Promise<string> {
  const npmScript = process.env["npm_execpath"];
  const { stdout } = npmScript
    ? await run(process.execPath, [npmScript, ...args], { cwd })
    : await run("npm", args, { cwd, shell: process.platform === "win32" });
  return stdout;
}
