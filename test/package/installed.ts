import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Defer } from "../app/harness/deferred";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Installed {
  /** The new folder whose `node_modules` hold the package and nothing else. */
  readonly folder: string;
  readonly tarball: string;
  /** The files in the tarball. */
  readonly files: string[];
}

/** What `npm pack --json` says of a package. */
interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** Packs the tarball and installs it in a new folder, as a user would. */
export async function installPackedTarball(defer: Defer): Promise<Installed> {
  const folder = await mkdtemp(join(tmpdir(), "kernia-events-package-"));
  defer(() => rm(folder, { recursive: true, force: true }));

  // `npm test` has just built it; building again would pull it from under the other tests.
  const packed = await npm(
    root,
    "pack",
    "--ignore-scripts",
    "--json",
    "--pack-destination",
    folder,
  );
  // An array, or since npm 12 an object, of the one package.
  const [{ filename, files }] = Object.values<Packed>(JSON.parse(packed)) as [Packed];
  const tarball = join(folder, filename);
  await writeFile(join(folder, "package.json"), "{}");
  await npm(folder, "install", "--offline", "--no-audit", "--no-fund", tarball);
  return { folder, tarball, files: files.map(({ path }) => path).sort() };
}

/** Runs the npm that runs us, else the one on the path, and returns what it prints. */
async function npm(cwd: string, ...args: string[]): Promise<string> {
  const npmScript = process.env["npm_execpath"];
  const { stdout } = npmScript
    ? await run(process.execPath, [npmScript, ...args], { cwd })
    : await run("npm", args, { cwd, shell: process.platform === "win32" });
  return stdout;
}

/** Runs a script on Node and returns what it prints; fails with what it printed if it fails. */
export async function node(cwd: string, ...args: string[]): Promise<string> {
  try {
    return (await run(process.execPath, args, { cwd })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`node ${args.join(" ")} failed:\n${stdout}${stderr}`, { cause: error });
  }
}
