import { cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import { installPackedTarball, node, type Installed } from "./installed";

const defer = deferToEnd();

const { resolve } = createRequire(import.meta.url);
const root = fileURLToPath(new URL("../..", import.meta.url));
const examples = join(root, "test/examples");
/** What a stranger copies, by its path in `test/examples`. */
const copied = (await readdir(examples, { recursive: true, encoding: "utf8" }))
  .filter((path) => path.endsWith(".ts") && !path.endsWith(".test.ts"))
  .map((path) => path.replaceAll("\\", "/"))
  .sort();
const texts = await Promise.all(
  copied.map(async (path) => [path, await readFile(join(examples, path), "utf8")] as const),
);

const compilers = [
  ["5.9", "typescript-5.9"],
  ["6.0", "typescript"],
  ["7.0", "typescript-7.0"],
] as const;

const usual = { target: "es2022", lib: ["es2022"], types: ["node"], strict: true, noEmit: true };
const nodeNext = { ...usual, module: "nodenext" };
const everyStrictFlag = {
  allowUnreachableCode: false,
  allowUnusedLabels: false,
  erasableSyntaxOnly: true,
  exactOptionalPropertyTypes: true,
  forceConsistentCasingInFileNames: true,
  isolatedModules: true,
  noFallthroughCasesInSwitch: true,
  noImplicitOverride: true,
  noImplicitReturns: true,
  noPropertyAccessFromIndexSignature: true,
  noUncheckedIndexedAccess: true,
  noUncheckedSideEffectImports: true,
  noUnusedLocals: true,
  noUnusedParameters: true,
  verbatimModuleSyntax: true,
};
/** The settings of strangers' projects, and how their files become modules. */
const projects = [
  [
    "a bundler",
    "module",
    { ...usual, lib: ["es2022", "dom"], module: "esnext", moduleResolution: "bundler" },
  ],
  ["nodenext, as an ES module", "module", nodeNext],
  ["nodenext, as CommonJS", "commonjs", nodeNext],
  ["every strict flag there is", "module", { ...nodeNext, ...everyStrictFlag }],
] as const;

let installed: Installed;

beforeAll(async () => {
  installed = await installPackedTarball(defer);
  // What the copies import besides the package is what this repository has installed.
  const modules = join(root, "node_modules");
  for (const name of await readdir(modules)) {
    if (name === "@kernia" || name.startsWith(".")) continue;
    await symlink(join(modules, name), join(installed.folder, "node_modules", name), "junction");
  }
});

/** Makes a project of the copies and these further files. */
async function createProject(
  name: string,
  type: string,
  compilerOptions: object,
  files: readonly string[] = [],
): Promise<string> {
  const folder = join(installed.folder, name.replaceAll(/\W+/g, "-"));
  for (const path of copied) await cp(join(examples, path), join(folder, "examples", path));
  for (const path of files) {
    await mkdir(join(folder, "package"), { recursive: true });
    await cp(join(root, "test/package", path), join(folder, "package", path));
  }
  await writeFile(join(folder, "package.json"), JSON.stringify({ type }));
  // What `npm create` of today's frameworks and `tsc --init` write, too.
  const options = { ...compilerOptions, skipLibCheck: true };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: options }));
  return folder;
}

const compile = (folder: string, compiler: string, ...options: string[]) =>
  node(
    folder,
    resolve(`${compiler}/package.json`).replace("package.json", "bin/tsc"),
    "--project",
    ".",
    "--pretty",
    "false",
    ...options,
  );

test(
  "the copies, and an app that uses them, compile with TypeScript 5.4, the lowest that the README names",
  { timeout: 600_000 },
  async () => {
    const [[, type, options]] = projects;
    const folder = await createProject("lowest", type, options, ["own-app.ts"]);

    expect(await compile(folder, "typescript-5.4")).toBe("");
  },
);

describe.each(compilers)("under TypeScript %s", (version, compiler) => {
  test.concurrent.each(projects)(
    "the copies, and an app that uses them, compile with %s",
    { timeout: 600_000 },
    async (name, type, options) => {
      const folder = await createProject(`${version} ${name}`, type, options, ["own-app.ts"]);

      expect(await compile(folder, compiler)).toBe("");
    },
  );

  test.concurrent(
    "the plugins compile with isolatedDeclarations, as a package of plugins may",
    { timeout: 600_000 },
    async () => {
      const options = { ...nodeNext, ...everyStrictFlag, noEmit: false, emitDeclarationOnly: true };
      const folder = await createProject(`${version} plugins`, "module", {
        ...options,
        declaration: true,
        isolatedDeclarations: true,
        rootDir: "examples",
        outDir: "dist",
      });
      const plugins = copied.filter((path) => !path.includes("/"));
      const config = JSON.parse(await readFile(join(folder, "tsconfig.json"), "utf8"));
      const files = plugins.map((path) => `examples/${path}`);
      await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ ...config, files }));

      expect(await compile(folder, compiler)).toBe("");
      const declared = await readdir(join(folder, "dist"), { recursive: true, encoding: "utf8" });
      expect(declared.map((path) => basename(path))).toEqual(
        expect.arrayContaining(plugins.map((path) => path.replace(".ts", ".d.ts"))),
      );
    },
  );
});

test("there are examples to be copied", () => {
  expect(copied.length).toBeGreaterThan(12);
});

describe.each(texts)("%s", (_, text) => {
  test("says in its first lines which Better Auth it needs", () => {
    const [comment] = /^(?:\/\/.*\n)*/.exec(text)!;

    expect(comment).toMatch(/\bNeeds (no Better Auth|Better Auth 1\.\d+ (or newer|to 1\.\d+))/);
  });

  // How a path has to be written depends on the project, and Node runs it as it is from 23.6 on.
  test("imports no other file", () => {
    expect(text).not.toMatch(/(from|import) ?\(?"\./);
  });
});
