import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { beforeAll, describe, expect, test } from "vitest";
import { installPackedTarball, node, type Installed } from "./installed";
import { deferToEnd } from "../app/harness/defer-to-end";

const defer = deferToEnd();

const { resolve } = createRequire(import.meta.url);
const typeTests = fileURLToPath(new URL("../types", import.meta.url));
/** The type tests that need nothing but the library; the others are of the demo's app. */
const portable = ["events.test-d.ts", "get-bus.test-d.ts"];
const compilers = ["5.4", "5.9", "6.0", "7.0"];
const moduleKinds = [
  { module: "node16", type: "module" },
  { module: "node16", type: "commonjs" },
  { module: "nodenext", type: "module" },
  { module: "nodenext", type: "commonjs" },
  { module: "esnext", moduleResolution: "bundler", type: "module" },
];

let installed: Installed;

beforeAll(async () => {
  installed = await installPackedTarball(defer);
  // The type tests are the same that vitest runs; here they get only as much of it as they need.
  const modules = join(installed.folder, "node_modules");
  await cp(dirname(resolve("expect-type/package.json")), join(modules, "expect-type"), {
    recursive: true,
  });
  await mkdir(join(modules, "vitest"));
  await writeFile(join(modules, "vitest/package.json"), `{ "types": "index.d.ts" }`);
  await writeFile(
    join(modules, "vitest/index.d.ts"),
    `export { expectTypeOf } from "expect-type";
     export declare function describe(name: string, body: () => void): void;
     export declare function test(name: string, body: () => void): void;`,
  );
});

describe.each(compilers)("under TypeScript %s", (compiler) => {
  test.concurrent.each(moduleKinds)("the type tests hold with %j", async ({ type, ...options }) => {
    const folder = join(installed.folder, [compiler, ...Object.values(options), type].join("-"));
    await mkdir(folder);
    await writeFile(join(folder, "package.json"), JSON.stringify({ type }));
    await writeFile(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          ...options,
          target: "es2022",
          lib: ["es2022"],
          types: [],
          strict: true,
          exactOptionalPropertyTypes: true,
          skipLibCheck: false,
          noEmit: true,
        },
      }),
    );
    for (const file of await readdir(typeTests)) {
      if (!portable.includes(file)) continue;
      const source = await readFile(join(typeTests, file), "utf8");
      await writeFile(join(folder, file.replace(".test-d.ts", ".ts")), source);
    }

    const tsc = resolve(`typescript-${compiler}/package.json`).replace("package.json", "bin/tsc");
    const files = await node(folder, tsc, "--project", ".", "--listFiles");

    const declarations = type === "module" ? "index.d.ts" : "index.d.cts";
    expect(files).toContain(`@kernia/events/dist/${declarations}`);
    expect(files).toContain("events.ts");
    expect(files).toContain("get-bus.ts");
  });
});

test("editors complete the declared names, also those that a plugin declared", () => {
  const file = join(installed.folder, "editor.ts");
  const source = `import { EventBus } from "@kernia/events";
    declare module "@kernia/events" {
      interface Events { "billing.invoice.paid": { amount: number } }
    }
    new EventBus().on("", () => {});`;
  const service = ts.createLanguageService({
    getCompilationSettings: () => ({
      module: ts.ModuleKind.NodeNext,
      strict: true,
      types: [],
      target: ts.ScriptTarget.ES2022,
    }),
    getScriptFileNames: () => [file],
    getScriptVersion: () => "1",
    getScriptSnapshot: (name) => {
      const text = name === file ? source : ts.sys.readFile(name);
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
    },
    getCurrentDirectory: () => installed.folder,
    getDefaultLibFileName: ts.getDefaultLibFilePath,
    fileExists: ts.sys.fileExists,
    readFile: ts.sys.readFile,
    readDirectory: ts.sys.readDirectory,
    directoryExists: ts.sys.directoryExists,
  });

  const completions = service.getCompletionsAtPosition(file, source.indexOf('on("') + 4, {});

  // What is typed so far, nothing, is offered too.
  const names = completions?.entries.map(({ name }) => name).filter((name) => name !== "");
  expect(names?.sort()).toEqual([
    "billing.invoice.paid",
    "organization.member.added",
    "organization.member.removed",
    "organization.member.updated",
    "user.deleted",
  ]);
});
