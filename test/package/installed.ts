import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Defer } from "../fixtures/deferred";
import { npm } from "../fixtures/npm";
import { createTemporaryFolder } from "../fixtures/temporary-folder";

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
  const folder = await createTemporaryFolder(defer);

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

/** Runs a script on Node and returns what it prints; fails with what it printed if it fails. */
export async function node(cwd: string, ...args: string[]): Promise<string> {
  try {
    return (await run(process.execPath, args, { cwd })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`node ${args.join(" ")} failed:\n${stdout}${stderr}`, { cause: error });
  }
}
