import { cp, readdir, symlink, utimes, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import { createTemporaryFolder } from "../fixtures/temporary-folder";
import { node } from "./installed";

const defer = deferToEnd();

const root = fileURLToPath(new URL("../..", import.meta.url));
const tsup = createRequire(join(root, "package.json")).resolve("tsup/package.json");

test("a build removes what an interrupted one left beside the configuration, and nothing else", async () => {
  const folder = await createTemporaryFolder(defer);
  for (const name of ["package.json", "tsconfig.json", "tsup.config.ts", "src"]) {
    await cp(join(root, name), join(folder, name), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"), "junction");
  const before = await readdir(folder);
  const [left, another] = ["tsup.config.bundled_left.mjs", "tsup.config.bundled_another.mjs"];
  const yesterday = new Date(Date.now() - 24 * 60 * 60 * 1_000);
  await writeFile(join(folder, left), "");
  await utimes(join(folder, left), yesterday, yesterday);
  await writeFile(join(folder, another), "");

  await node(folder, tsup.replace("package.json", "dist/cli-default.js"));

  const expected = [...before, "dist", another];
  expect((await readdir(folder)).sort()).toEqual(expected.sort());
});
