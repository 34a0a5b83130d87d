import { existsSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";
import { Deferred, type Defer } from "../fixtures/deferred";
import { npm } from "../fixtures/npm";
import { createTemporaryFolder } from "../fixtures/temporary-folder";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");

export type Installed = Awaited<ReturnType<typeof installTarball>>;

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string }[];
}

declare module "vitest" {
  interface ProvidedContext {
    installed: Installed;
  }
}

/** One tarball, which is packed and installed once for all tests. */
export default async function globalSetup(project: TestProject) {
  const deferred = new Deferred();
  project.provide("installed", await installTarball(deferred.defer));
  return () => deferred.run();
}

/** Packs the tarball and installs it in a new folder, as a user would. */
export async function installTarball(defer: Defer) {
  const folder = await createTemporaryFolder(defer);
  // `npm test` has just built it.
  const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
  // An array, or since npm 12 an object, of the one package.
  const [packed] = Object.values<Packed>(JSON.parse(await npm(root, ...pack)));
  const { filename, size, files } = packed!;
  const tarball = join(folder, filename);
  writeFileSync(join(folder, "package.json"), `{ "type": "module" }`);
  await npm(folder, "install", "--offline", "--no-audit", "--no-fund", tarball);
  linkNeighbours(folder);
  return {
    /** The project of a user who installed the tarball. */
    folder,
    /** The package in its `node_modules`. */
    package: join(folder, "node_modules/@kernia/events"),
    tarball,
    tarballBytes: size,
    /** The paths of the files in the tarball. */
    files: files.map(({ path }) => path).sort(),
  };
}

/** Links what this repository has installed into that project, but nothing that the project has. */
export function linkNeighbours(folder: string): void {
  const modules = join(root, "node_modules");
  for (const name of readdirSync(modules).filter((name) => !name.startsWith("."))) {
    const link = join(folder, "node_modules", name);
    if (!existsSync(link)) symlinkSync(join(modules, name), link, "junction");
  }
}
