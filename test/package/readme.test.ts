import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { installPackedTarball, node, type Installed } from "./installed";
import { deferToEnd } from "../fixtures/defer-to-end";

const defer = deferToEnd();

const { resolve } = createRequire(import.meta.url);
const root = fileURLToPath(new URL("../..", import.meta.url));

/** The README and the other documents for readers, by their paths. */
const paths = [
  "README.md",
  ...["test", ".github"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".md") && !path.includes("node_modules"))
      .map((path) => `${folder}/${path.replaceAll("\\", "/")}`),
  ),
];
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const texts = new Map(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]));
const documents = [...texts];
const blocks = documents.flatMap(([path, text]) =>
  [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(
    ([, source], index) => [`${path} ${index + 1}`, source!] as const,
  ),
);

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

/** Compiles these blocks as modules of one program. */
async function compile(blocks: readonly (readonly [string, string])[]): Promise<void> {
  const files = blocks.map(([name]) => `${fileOf(name)}.ts`);
  for (const [index, [, source]] of blocks.entries()) {
    await writeFile(join(installed.folder, files[index]!), source);
  }
  const options = "--strict --noEmit --skipLibCheck --module nodenext --target es2022 --types node";
  const tsc = [resolve("typescript/bin/tsc"), ...options.split(" "), "--lib", "es2022,dom"];
  await node(installed.folder, ...tsc, ...files);
}

function fileOf(block: string): string {
  return `block-${block.replace(/[^\w]+/g, "-")}`;
}

// What one declares reaches the others, as in the project of somebody who copies them all.
test("the TypeScript blocks compile together", () => compile(blocks));

describe.concurrent.each(blocks)("TypeScript block %s", (name, source) => {
  test("compiles by itself", () => compile([[name, source]]));

  test("runs, and prints what it says that it prints", async () => {
    const { code } = await transform(source, { loader: "ts", format: "esm" });
    await writeFile(join(installed.folder, `${fileOf(name)}.mjs`), code);
    const printed = await node(installed.folder, `${fileOf(name)}.mjs`);

    const said = [...source.matchAll(/^\/\/ prints (.*\n)/gm)].map(([, line]) => line);
    expect(printed).toBe(said.join(""));
  });
});

test("the README is short enough to be read", () => {
  expect(texts.get("README.md")!.split(/\s+/).length).toBeLessThanOrEqual(1_600);
});

test("CONTRIBUTING lists every command that there is", () => {
  // npm runs that one itself.
  const commands = Object.keys(scripts).filter((name) => name !== "prepack");

  expect(commandsIn(texts.get(".github/CONTRIBUTING.md")!).sort()).toEqual(commands.sort());
});

test("the documents have TypeScript blocks, quotes and links", () => {
  expect(blocks.length).toBeGreaterThan(2);
  expect(documents.flatMap(([, text]) => quotesIn(text)).length).toBeGreaterThan(3);
  expect(documents.flatMap(([, text]) => linksIn(text)).length).toBeGreaterThan(5);
});

describe.each(documents)("%s", (path, text) => {
  test("is part of the file that it says that it is from, in each such block", async () => {
    const quotes = quotesIn(text);

    expect(quotes.length).toBe(text.split("<!-- from").length - 1);
    for (const { file, quote } of quotes) {
      const withoutIndent = (text: string) => text.replaceAll(/^ +/gm, "");
      const source = await readFile(join(root, file), "utf8");
      expect(withoutIndent(source)).toContain(withoutIndent(quote));
    }
  });

  test("names commands that exist", () => {
    expect(commandsIn(text).filter((name) => !(name in scripts))).toEqual([]);
  });

  test("links to files that exist, and to headings that they have", () => {
    const broken = linksIn(text).filter((link) => {
      const [file, heading] = link.split("#");
      const target = file ? posix.join(posix.dirname(path), file) : path;
      if (!existsSync(join(root, target))) return true;
      return heading !== undefined && !headingsIn(texts.get(target) ?? "").includes(heading);
    });

    expect(broken).toEqual([]);
  });
});

/** The blocks that say with a comment above them which file they are from. */
function quotesIn(text: string) {
  const quotes = text.matchAll(/<!-- from (\S+) -->\n\n```\w+\n([\s\S]*?)```/g);
  return [...quotes].map(([, file, quote]) => ({ file: file!, quote: quote! }));
}

/** The npm scripts that it names. */
function commandsIn(text: string): string[] {
  const commands = text.matchAll(/\bnpm (?:run ([\w:-]+)|test\b)/g);
  return [...new Set([...commands].map(([, name = "test"]) => name))];
}

/** Where its links and pictures lead within the repository. */
function linksIn(text: string): string[] {
  const links = text.matchAll(/\]\(([^)\s]+)|^\[[^\]]+\]: (\S+)|(?:src|srcset|href)="([^"]+)"/gm);
  return [...links]
    .map(([, link, reference, attribute]) => (link ?? reference ?? attribute)!)
    .filter((link) => !/^[a-z]+:/.test(link));
}

/** Its headings, as links name them. */
function headingsIn(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replaceAll(" ", "-"),
  );
}
