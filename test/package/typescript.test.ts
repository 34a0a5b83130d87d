import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { beforeAll, describe, expect, test } from "vitest";
import { installPackedTarball, node, type Installed } from "./installed";
import { deferToEnd } from "../fixtures/defer-to-end";

const defer = deferToEnd();

const { resolve } = createRequire(import.meta.url);
const typeTests = fileURLToPath(new URL("../types", import.meta.url));
/** The type tests that need nothing but the library; the others are of the demo's app. */
const portable = ["events.test-d.ts", "get-bus.test-d.ts"];
/** The package of each compiler; that of 6.0 is the one that this repository is built with. */
const compilers = [
  ["5.4", "typescript-5.4"],
  ["5.9", "typescript-5.9"],
  ["6.0", "typescript"],
  ["7.0", "typescript-7.0"],
] as const;
const moduleKinds = [
  { module: "node16", type: "module" },
  { module: "node16", type: "commonjs" },
  { module: "nodenext", type: "module" },
  { module: "nodenext", type: "commonjs" },
  { module: "esnext", moduleResolution: "bundler", type: "module" },
];

/** Plugins as they are published: what they are compiled to, and declarations. */
const plugins = {
  "esm-plugin": { type: "module", event: "esm.invoice.paid" },
  "commonjs-plugin": { type: "commonjs", event: "commonjs.invoice.paid" },
  "other-version-plugin": { type: "module", event: "other-version.invoice.paid" },
};

const pluginWith = (event: string) => `
  import { EventBus } from "@kernia/events";

  declare global {
    interface KerniaEvents {
      "${event}": { readonly invoiceId: string; readonly amount: number };
    }
  }

  export function createBus(): EventBus {
    return new EventBus();
  }
  export function pay(bus: EventBus, invoiceId: string): Promise<void> {
    return bus.emit("${event}", { invoiceId, amount: 4200 });
  }
`;

/** An app that imports all plugins in the one way that ES modules and CommonJS share. */
const app = `
  import { EventBus, getBus, type EventName, type Events } from "@kernia/events";

  type Invoice = { readonly invoiceId: string; readonly amount: number };
  type Same<One, Other> =
    (<T>() => T extends One ? 1 : 2) extends <T>() => T extends Other ? 1 : 2 ? true : false;

  export async function app() {
    const plugins = [
      ${Object.keys(plugins).map((plugin) => `await import("${plugin}")`)}
    ] as const;
    const buses = [new EventBus(), getBus({}), ...plugins.map((plugin) => plugin.createBus())];
    for (const bus of buses) {
      for (const plugin of plugins) await plugin.pay(bus, "in_1");
      getBus({ pluginState: { events: bus } });
    }
    ${Object.keys(plugins)
      .map((_, index) => `useBus(plugins[${index}].createBus());`)
      .join("\n")}
  }

  function useBus(bus: EventBus) {
    ${Object.values(plugins)
      .map(
        ({ event }) => `{
          bus.on("${event}", (payload) => {
            const same: Same<typeof payload, Invoice> = true;
            return same;
          });
          void bus.emit("${event}", { invoiceId: "in_1", amount: 4200 });
          // @ts-expect-error
          void bus.emit("${event}", { invoiceId: "in_1" });
          // @ts-expect-error
          void bus.emit("${event}", { invoiceId: "in_1", amount: "4200" });
          // @ts-expect-error
          bus.on("${event}", (payload: { readonly invoiceId: number }) => payload);
          const declared: Same<Events["${event}"], Invoice> = true;
          void declared;
        }`,
      )
      .join("\n")}
  }
  export const name: EventName = "user.deleted";
`;

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

  for (const [plugin, { type, event }] of Object.entries(plugins)) {
    const folder = join(modules, plugin);
    await writePackage(
      folder,
      { type, module: "nodenext", declaration: true },
      { "index.ts": pluginWith(event) },
    );
    if (plugin === "other-version-plugin") {
      const copy = join(folder, "node_modules/@kernia/events");
      await cp(join(modules, "@kernia/events"), copy, { recursive: true });
      // TypeScript takes two copies of one version for the same package.
      const manifest = JSON.parse(await readFile(join(copy, "package.json"), "utf8"));
      const older = JSON.stringify({ ...manifest, version: "0.0.1" });
      await writeFile(join(copy, "package.json"), older);
    }
    await compile(folder, "typescript");
    await rm(join(folder, "index.ts"));
    await rm(join(folder, "tsconfig.json"));
  }
});

const compilerOptions = {
  target: "es2022",
  lib: ["es2022"],
  types: [],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
};

/** Writes a package with these sources, which is compiled with these options. */
async function writePackage(
  folder: string,
  { type, ...options }: { type: string; [option: string]: unknown },
  sources: Record<string, string>,
) {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "package.json"), JSON.stringify({ type, exports: "./index.js" }));
  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { ...compilerOptions, ...options } }),
  );
  for (const [file, source] of Object.entries(sources)) await writeFile(join(folder, file), source);
}

const compile = (folder: string, compiler: string) =>
  node(
    folder,
    resolve(`${compiler}/package.json`).replace("package.json", "bin/tsc"),
    "--project",
    ".",
    "--listFiles",
  );

describe.each(compilers)("under TypeScript %s", (version, compiler) => {
  test.concurrent.each(moduleKinds)("the type tests hold with %j", async (options) => {
    const folder = join(installed.folder, [version, ...Object.values(options)].join("-"));
    const sources: Record<string, string> = {};
    for (const file of portable) {
      const source = await readFile(join(typeTests, file), "utf8");
      sources[file.replace(".test-d.ts", ".ts")] = source;
    }
    await writePackage(folder, { ...options, noEmit: true }, sources);

    const files = await compile(folder, compiler);

    const declarations = options.type === "module" ? "index.d.ts" : "index.d.cts";
    expect(files).toContain(`@kernia/events/dist/${declarations}`);
  });

  test.concurrent.each(moduleKinds)(
    "an app sees the events and takes the buses of all its plugins with %j",
    async (options) => {
      const folder = join(installed.folder, ["app", version, ...Object.values(options)].join("-"));
      await writePackage(folder, { ...options, noEmit: true }, { "app.ts": app });

      const files = await compile(folder, compiler);

      for (const plugin of Object.keys(plugins)) {
        expect(files).toContain(`node_modules/${plugin}/index.d.ts`);
      }
      expect(files).toContain("node_modules/other-version-plugin/node_modules/@kernia/events/dist");
    },
  );
});

describe("an editor", () => {
  const source = `
    import { EventBus } from "@kernia/events";
    declare global {
      interface KerniaEvents { "billing.invoice.paid": { amount: number } }
    }
    const bus = new EventBus();
    bus.on("", () => {});
    bus.on("organization.member.added", (payload) => payload);
    bus.off("user.deleted", () => {});
    void bus.emit("user.deleted", { userId: "u_1", action: "deleted" });`;
  let file: string;
  let service: ts.LanguageService;

  beforeAll(() => {
    file = join(installed.folder, "editor.ts");
    service = ts.createLanguageService({
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
  });

  test("completes the declared names, also those that a plugin declared", () => {
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

  test("shows a payload by a name that can be read", () => {
    const hover = service.getQuickInfoAtPosition(file, source.indexOf("payload)"));

    const text = ts.displayPartsToString(hover?.displayParts);
    expect(text).toBe('(parameter) payload: MemberEvent<"added">');
  });

  test.each(["on", "off", "emit"])("says what each parameter of %s is", (method) => {
    const position = source.lastIndexOf(`${method}("`) + method.length + 1;
    const help = service.getSignatureHelpItems(file, position, {});

    const parameters = help?.items[0]?.parameters ?? [];
    expect(parameters).toHaveLength(2);
    for (const { documentation } of parameters) {
      expect(ts.displayPartsToString(documentation)).not.toBe("");
    }
  });
});
