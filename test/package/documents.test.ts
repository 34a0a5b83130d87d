import { existsSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { describe, expect, inject, test } from "vitest";
import { documents } from "./documents";
import { root } from "./installed";

const installed = inject("installed");
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const textOf = (path: string) => documents.find((each) => each.path === path)?.text ?? "";

test("the README is short enough to be read", () => {
  expect(textOf("README.md").split(/\s+/).length).toBeLessThanOrEqual(1_500);
});

test("CONTRIBUTING lists every command that there is", () => {
  // npm runs prepack itself.
  const commands = Object.keys(scripts).filter((name) => name !== "prepack");

  expect(commandsIn(textOf(".github/CONTRIBUTING.md")).sort()).toEqual(commands.sort());
});

describe.each(documents)("$path", ({ path, text }) => {
  test("quotes files as they are", () => {
    const quotes = quotesIn(text);
    const withoutIndent = (text: string) => text.replaceAll(/^ +/gm, "");

    expect(quotes.length).toBe(text.split("<!-- from").length - 1);
    for (const { file, quote } of quotes) {
      const source = readFileSync(join(root, file), "utf8");
      expect(withoutIndent(source)).toContain(withoutIndent(quote));
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
      if (installed.files.includes(path) && !isInstalled(target)) return true;
      return heading !== undefined && !headingsIn(textOf(target)).includes(heading);
    });

    expect(broken).toEqual([]);
  });
});

function isInstalled(target: string): boolean {
  return installed.files.some((file) => file === target || file.startsWith(`${target}/`));
}

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
  const links = text.matchAll(/\]\(([^)\s]+)|^\[[^\]]+\]: (\S+)/gm);
  return [...links]
    .map(([, link, reference]) => (link ?? reference)!)
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
