import { existsSync, readFileSync } from "node:fs";

/** The benchmark installs what it compares with here; the library is linked at the root. */
const folders = ["node_modules", "../../node_modules"];

/** The version of an installed package. */
export function versionOf(name: string): string {
  const manifests = folders.map(
    (folder) => new URL(`${folder}/${name}/package.json`, import.meta.url),
  );
  const manifest = manifests.find((each) => existsSync(each));
  if (!manifest) throw new Error(`${name} is not installed`);
  return JSON.parse(readFileSync(manifest, "utf8")).version;
}
