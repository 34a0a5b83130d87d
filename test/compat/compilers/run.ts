import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { withDeferred } from "../../fixtures/deferred";
import { node } from "../../fixtures/npm";
import { green, red } from "../../fixtures/print";
import { installTarball } from "../../package/installed";

const { resolve } = createRequire(import.meta.url);
const test = fileURLToPath(new URL("../..", import.meta.url));
const compilers = ["typescript-5.4", "typescript-5.9", "typescript", "typescript-7.0"];

const everything = ["examples", "types", "compat"];
const nodenext = { module: "nodenext", include: everything };
const alone = { module: "node16", skipLibCheck: false, include: ["plugin-app.ts"] };
const strictFlags = {
  erasableSyntaxOnly: true,
  exactOptionalPropertyTypes: true,
  noImplicitOverride: true,
  noImplicitReturns: true,
  noPropertyAccessFromIndexSignature: true,
  noUncheckedIndexedAccess: true,
  noUnusedLocals: true,
  noUnusedParameters: true,
  verbatimModuleSyntax: true,
};
/** The settings of users' projects, and what is compiled with them. */
const settings = {
  "a bundler": { module: "esnext", moduleResolution: "bundler", include: everything },
  "plugins that import the library": alone,
  "plugins that import it from CommonJS": { ...alone, type: "commonjs" },
  "ES modules": nodenext,
  CommonJS: { ...nodenext, type: "commonjs" },
  "strict flags": { ...nodenext, ...strictFlags, include: ["examples", "compat"] },
  isolatedDeclarations: {
    ...nodenext,
    include: ["examples/*.ts"],
    isolatedDeclarations: true,
    declaration: true,
  },
};
/** What is compiled with the oldest version that the README names. */
const ofOldest = /bundler|plugins/;

const plugins = ["esm-plugin", "commonjs-plugin", "other-version-plugin"];
const declarationsOf = (plugin: string) => `
  import { EventBus } from "@kernia/events";
  declare global { interface KerniaEvents { "${plugin}.paid": { readonly amount: number } } }
  export declare function createBus(): EventBus;`;
const usesOf = (plugin: string) => `
  bus.on("${plugin}.paid", ({ amount }) => amount.toFixed());
  void bus.emit("${plugin}.paid", { amount: 1 } satisfies Events["${plugin}.paid"]);
  // @ts-expect-error
  void bus.emit("${plugin}.paid", { amount: "1" });`;
/** Imports the plugins in the one way that ES modules and CommonJS share. */
const pluginApp = `
  import { EventBus, getBus, type Events } from "@kernia/events";
  export async function app() {
    const plugins = [${plugins.map((plugin) => `await import("${plugin}")`).join()}] as const;
    for (const bus of [getBus({}), ...plugins.map((plugin): EventBus => plugin.createBus())]) {
      getBus({ pluginState: { events: bus } });${plugins.map(usesOf).join("")}
    }
  }`;
/** What the type tests import, without vitest's own declarations, which are not for old compilers. */
const vitest = `
  export { expectTypeOf } from "expect-type";
  export declare function describe(name: string, body: () => void): void;
  export declare function test(name: string, body: () => void): void;`;

await withDeferred(async (defer) => {
  const { folder } = await installTarball(defer);
  const library = join(folder, "node_modules/@kernia/events");
  cpSync(join(library, "test/examples"), join(folder, "examples"), { recursive: true });
  for (const file of ["types/events.test-d.ts", "types/get-bus.test-d.ts"]) {
    cpSync(join(test, file), join(folder, file.replace(".test-d", "")));
  }
  cpSync(join(test, "compat/compilers/own-app.ts"), join(folder, "compat/compilers/own-app.ts"));
  writeFileSync(join(folder, "vitest.d.ts"), vitest);
  writeFileSync(join(folder, "plugin-app.ts"), pluginApp);
  for (const plugin of plugins) {
    const path = join(folder, "node_modules", plugin);
    mkdirSync(path);
    const type = plugin === "commonjs-plugin" ? "commonjs" : "module";
    writeFileSync(join(path, "package.json"), JSON.stringify({ type, types: "index.d.ts" }));
    writeFileSync(join(path, "index.d.ts"), declarationsOf(plugin));
  }
  const other = join(folder, "node_modules/other-version-plugin/node_modules/@kernia/events");
  cpSync(library, other, { recursive: true });
  // TypeScript takes two copies of one version for the same package.
  const older = { name: "@kernia/events", version: "0.0.1", types: "dist/index.d.ts" };
  writeFileSync(join(other, "package.json"), JSON.stringify(older));

  for (const compiler of compilers) {
    const tsc = join(resolve(`${compiler}/package.json`), "../bin/tsc");
    for (const [name, setting] of Object.entries<Record<string, unknown>>(settings)) {
      const { include, type = "module", ...options } = setting;
      if (compiler === compilers[0] && !ofOldest.test(name)) continue;
      const compilerOptions = {
        target: "es2022",
        lib: ["es2022"],
        types: ["node"],
        strict: true,
        skipLibCheck: true,
        noEmit: true,
        paths: { vitest: ["./vitest.d.ts"] },
        ...options,
      };
      writeFileSync(join(folder, "package.json"), JSON.stringify({ type }));
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, include }));
      const failure = await node(folder, tsc, "--project", ".", "--pretty", "false").then(
        () => undefined,
        (error: Error) => error.message.slice(0, 2_000),
      );
      if (failure) process.exitCode = 1;
      console.log(`${compiler}, ${name}: ${failure ? red(failure) : green("compiles")}`);
    }
  }
});
