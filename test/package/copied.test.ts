import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { transform } from "esbuild";
import { expect, inject, test } from "vitest";
import { node } from "../fixtures/npm";
import { documents } from "./documents";
import { tsc } from "./installed";

const { folder, package: installed, files } = inject("installed");
const { version } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));

const examples = files.filter((file) => /^test\/examples\/.*\.(ts|sql)$/.test(file));
const blocks = documents.flatMap(({ path, text }) =>
  [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, source], index) => ({
    name: `${path.replaceAll(/\W/g, "-")}-${index + 1}`,
    source: source!,
  })),
);

test("the examples, and the blocks of the documents, compile in a strict project", async () => {
  cpSync(join(installed, "test/examples"), join(folder, "src"), { recursive: true });
  for (const { name, source } of blocks) writeFileSync(join(folder, `src/${name}.ts`), source);
  const options =
    "--strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --noImplicitReturns " +
    "--noPropertyAccessFromIndexSignature --noUnusedLocals --noUnusedParameters --erasableSyntaxOnly " +
    "--verbatimModuleSyntax --skipLibCheck --noEmit --module nodenext --lib es2022 --types node";
  const copied = examples.map((path) => path.replace("test/examples", "src"));
  const sources = copied.filter((path) => path.endsWith(".ts"));
  sources.push(...blocks.map(({ name }) => `src/${name}.ts`));

  expect(sources.length).toBeGreaterThan(15);
  expect(await node(folder, tsc, ...options.split(" "), ...sources)).toBe("");
});

test.for(blocks)("$name runs, and prints what it says that it prints", async ({ name, source }) => {
  const { code } = await transform(source, { loader: "ts", format: "esm" });
  writeFileSync(join(folder, `${name}.mjs`), code);

  const said = [...source.matchAll(/^\/\/ prints (.*\n)/gm)].map(([, line]) => line);
  expect(await node(folder, `${name}.mjs`)).toBe(said.join(""));
});

test.each(examples)("%s names its version, and imports no other file", (path) => {
  const text = readFileSync(join(installed, path), "utf8");
  const comment = path.endsWith(".sql") ? "--" : "//";

  expect(text.split("\n")[0]).toBe(`${comment} @kernia/events ${version}: copied from its ${path}`);
  // How a path has to be written depends on the project, and Node runs the file as it is from 23.6 on.
  expect(text).not.toMatch(/(from|import) ?\(?"\./);
});
