import { existsSync, readFileSync } from "node:fs";

/** The packages of the repository, of this workspace, and of the commands that install their own. */
const folders = ["../node_modules", "node_modules", "bench/node_modules"];

/** The version of an installed package. */
export function versionOf(name: string): string {
  const manifests = folders.map(
    (folder) => new URL(`${folder}/${name}/package.json`, import.meta.url),
  );
  const manifest = manifests.find((each) => existsSync(each));
  if (!manifest) throw new Error(`${name} is not installed`);
  return JSON.parse(readFileSync(manifest, "utf8")).version;
}
