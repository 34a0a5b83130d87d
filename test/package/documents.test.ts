import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, posix } from "node:path";
import { transform } from "esbuild";
import { describe, expect, inject, test } from "vitest";
import { node } from "../fixtures/npm";
import { root, tsc } from "./installed";

const { folder, package: installed, files } = inject("installed");
const { scripts, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const documents = [
  "README.md",
  "test/examples/README.md",
  "test/bench/README.md",
  ".github/CHANGELOG.md",
  ".github/CONTRIBUTING.md",
  ".github/SECURITY.md",
].map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
const textOf = (path: string) => documents.find((each) => each.path === path)?.text ?? "";

const blocks = documents.flatMap(({ path, text }) =>
  [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, source], index) => ({
    name: `${path.replaceAll(/\W/g, "-")}-${index + 1}`,
    source: source!,
  })),
);

test("the README is short enough to be read", () => {
  expect(textOf("README.md").split(/\s+/).length).toBeLessThanOrEqual(1_500);
});

test("CONTRIBUTING lists every command that there is", () => {
  // npm runs prepack itself.
  const commands = Object.keys(scripts).filter((name) => name !== "prepack");

  expect(commandsIn(textOf(".github/CONTRIBUTING.md")).sort()).toEqual(commands.sort());
});

test("the changelog names this version, and each file that is copied", () => {
  const text = textOf(".github/CHANGELOG.md");
  const copied = files.filter((file) => /^test\/examples\/.*\.(ts|sql)$/.test(file));

  expect(headingsIn(text)).toContain(version.replaceAll(".", ""));
  expect(copied.filter((file) => !text.includes(posix.basename(file)))).toEqual([]);
});

describe.each(documents)("$path", ({ path, text }) => {
  test("quotes files as they are", () => {
    const quotes = [...text.matchAll(/<!-- from (\S+) -->\n\n```\w+\n([\s\S]*?)```/g)];
    const withoutIndent = (text: string) => text.replaceAll(/^ +/gm, "");

    expect(quotes.length).toBe(text.split("<!-- from").length - 1);
    for (const [, file, quote] of quotes) {
      const source = readFileSync(join(root, file!), "utf8");
      expect(withoutIndent(source)).toContain(withoutIndent(quote!));
    }
  });

  test("names commands that exist", () => {
    expect(commandsIn(text).filter((name) => !(name in scripts))).toEqual([]);
  });

  test("links to files that exist, those of the tarball to files in it, and to headings", () => {
    const broken = linksIn(text).filter((link) => {
      const [file, heading] = link.split("#");
      const target = file ? posix.join(posix.dirname(path), file) : path;
      if (!existsSync(join(root, target))) return true;
      if (files.includes(path) && !isInstalled(target)) return true;
      return heading !== undefined && !headingsIn(textOf(target)).includes(heading);
    });

    expect(broken).toEqual([]);
  });
});

test("the blocks, and the examples that they use, compile in a strict project", async () => {
  cpSync(join(installed, "test/examples"), join(folder, "src"), { recursive: true });
  for (const { name, source } of blocks) writeFileSync(join(folder, `src/${name}.ts`), source);
  const options =
    "--strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --noImplicitReturns " +
    "--noPropertyAccessFromIndexSignature --noUnusedLocals --noUnusedParameters --erasableSyntaxOnly " +
    "--verbatimModuleSyntax --skipLibCheck --noEmit --module nodenext --lib es2022 --types node";
  const sources = readdirSync(join(folder, "src"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => join("src", path));

  expect(sources.length).toBeGreaterThan(15 + blocks.length);
  expect(await node(folder, tsc, ...options.split(" "), ...sources)).toBe("");
});

test.for(blocks)("$name runs, and prints what it says that it prints", async ({ name, source }) => {
  const { code } = await transform(source, { loader: "ts", format: "esm" });
  writeFileSync(join(folder, `${name}.mjs`), code);

  const printed = [...source.matchAll(/^\/\/ prints (.*\n)/gm)].map(([, line]) => line);
  expect(await node(folder, `${name}.mjs`)).toBe(printed.join(""));
});

function isInstalled(target: string): boolean {
  return files.some((file) => file === target || file.startsWith(`${target}/`));
}

/** The npm scripts that it names. */
function commandsIn(text: string): string[] {
  const commands = text.matchAll(/\bnpm (?:run ([\w:-]+)|test\b)/g);
  return [...new Set([...commands].map(([, name = "test"]) => name))];
}

/** Where its links and pictures lead within the repository. */
function linksIn(text: string): string[] {
  const links = text.matchAll(/\]\(([^)\s]+)|^\[[^\]]+\]: (\S+)/gm);
  return [...links]
    .map(([, link, reference]) => (link ?? reference)!)
    .filter((link) => !/^[a-z]+:/.test(link));
}

/** Its headings, as links name them. */
function headingsIn(text: string): string[] {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!.toLowerCase());
  return headings.map((heading) => heading.replace(/[^\w\s-]/g, "").replaceAll(" ", "-"));
}
