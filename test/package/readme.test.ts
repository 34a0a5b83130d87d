import { existsSync } from "node:fs";
import { readFile, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { installPackedTarball, node, type Installed } from "./installed";
import { deferToEnd } from "../app/harness/defer-to-end";

const defer = deferToEnd();

const { resolve } = createRequire(import.meta.url);
const root = fileURLToPath(new URL("../..", import.meta.url));
const readme = await readFile(join(root, "README.md"), "utf8");
const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, source]) => source!);

let installed: Installed;

beforeAll(async () => {
  installed = await installPackedTarball(defer);
  // What the blocks import besides the package is what this repository has installed.
  const modules = join(root, "node_modules");
  for (const name of ["better-auth", "@better-auth", "@types"]) {
    await symlink(join(modules, name), join(installed.folder, "node_modules", name), "junction");
  }
  await writeFile(join(installed.folder, "package.json"), JSON.stringify({ type: "module" }));
});

describe.each(blocks.map((source, index) => [index + 1, source] as const))(
  "TypeScript block %i of the README",
  (number, source) => {
    test("compiles under strict", async () => {
      const file = `block-${number}.ts`;
      // Each is a module of its own; an augmentation in one must not reach another.
      await writeFile(join(installed.folder, file), source);
      const tsc = resolve("typescript/bin/tsc");
      const options =
        "--strict --noEmit --skipLibCheck --module nodenext --target es2022 --types node";
      await node(installed.folder, tsc, ...options.split(" "), "--lib", "es2022,dom", file);
    });

    test("runs, and prints what it says that it prints", async () => {
      const { code } = await transform(source, { loader: "ts", format: "esm" });
      await writeFile(join(installed.folder, `block-${number}.mjs`), code);
      const printed = await node(installed.folder, `block-${number}.mjs`);

      const said = [...source.matchAll(/^\/\/ prints (.*\n)/gm)].map(([, line]) => line);
      expect(printed).toBe(said.join(""));
    });
  },
);

test("the README has TypeScript blocks", () => {
  expect(blocks.length).toBeGreaterThan(5);
});

test("each block of the README that is from a file is part of it", async () => {
  const quotes = [...readme.matchAll(/<!-- from (\S+) -->\n\n```\w+\n([\s\S]*?)```/g)];

  expect(quotes.length).toBe(readme.split("<!-- from").length - 1);
  expect(quotes.length).toBeGreaterThan(3);
  for (const [, file, quote] of quotes) {
    const withoutIndent = (text: string) => text.replaceAll(/^ +/gm, "");
    const source = await readFile(join(root, file!), "utf8");
    expect(withoutIndent(source)).toContain(withoutIndent(quote!));
  }
});

test("each link of the README into the repository resolves", () => {
  const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link]) => link!);

  expect(links.length).toBeGreaterThan(5);
  expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([]);
});

test("each link of the README within itself resolves", () => {
  const headings = [...readme.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replaceAll(" ", "-"),
  );
  const links = [...readme.matchAll(/\]\(#([^)]+)\)/g)].map(([, link]) => link!);

  expect(links.filter((link) => !headings.includes(link))).toEqual([]);
});
