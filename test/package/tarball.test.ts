import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";
import { brotliCompressSync } from "node:zlib";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { build, type BuildOptions } from "esbuild";
import { publint } from "publint";
import { describe, expect, inject, test } from "vitest";
import { node } from "../fixtures/npm";
import { tsc } from "./installed";

const installed = inject("installed");
const manifest = JSON.parse(readFileSync(join(installed.package, "package.json"), "utf8"));

/** Runs the source as a file of this name in the project of a user. */
async function run(name: string, source: string): Promise<string> {
  writeFileSync(join(installed.folder, name), source);
  return node(installed.folder, name);
}

async function bundle(contents: string, options?: BuildOptions) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: installed.folder },
    bundle: true,
    logLevel: "silent",
    ...options,
    write: false,
  });
  return outputFiles[0]!;
}

describe("the tarball", () => {
  test("is small, and holds no test and no demo", () => {
    const others = installed.files.filter((file) => !file.startsWith("test/examples/"));

    expect(installed.tarballBytes).toBeLessThanOrEqual(60_000);
    expect(others.join(" ")).toBe(
      ".github/SECURITY.md .github/benchmark.svg .github/bus.svg LICENSE README.md " +
        "dist/index.cjs dist/index.d.cts dist/index.d.ts dist/index.js package.json",
    );
    expect(installed.files).toContain("test/examples/standard-events.ts");
    expect(installed.files.filter((file) => file.includes(".test."))).toEqual([]);
  });

  test("has no dependencies, and nothing that runs on installing it", () => {
    expect(manifest).not.toHaveProperty("dependencies");
    expect(manifest).not.toHaveProperty("peerDependencies");
    expect(Object.keys(manifest.scripts)).not.toContain("postinstall");
  });

  test("passes publint and attw", async () => {
    const tarball = new Uint8Array(readFileSync(installed.tarball));

    const { messages } = await publint({ pack: { tarball: tarball.buffer }, strict: true });
    const types = await checkPackage(createPackageFromTarballData(tarball));

    expect(messages).toEqual([]);
    expect(types).toMatchObject({ types: { kind: "included" }, problems: [] });
  });
});

describe("the installed package", () => {
  const useIt = `
    const auth = { pluginState: {} };
    getBus(auth).on("user.deleted", async ({ userId }) => console.log(userId));
    getBus(auth).emit("user.deleted", { userId: "u_1", action: "deleted" }).then(() => {
      console.log(auth.pluginState.events instanceof EventBus);
    });`;

  test.each([
    ["an ES module", "esm.mjs", 'import { EventBus, getBus } from "@kernia/events";'],
    ["CommonJS", "cjs.cjs", 'const { EventBus, getBus } = require("@kernia/events");'],
  ])("is used from %s", async (_, name, load) => {
    expect(await run(name, load + useIt)).toBe("u_1\ntrue\n");
  });

  test("exports EventBus and getBus, and shares one bus between its two builds", async () => {
    const printed = await run(
      "shared.mjs",
      `import { createRequire } from "node:module";
       import * as esm from "@kernia/events";
       const cjs = createRequire(import.meta.url)("@kernia/events");
       const [one, other] = [{ pluginState: {} }, { pluginState: {} }];
       console.log(Object.keys(esm).sort().join(), Object.keys(cjs).sort().join());
       console.log(cjs.EventBus !== esm.EventBus);
       console.log(cjs.getBus(one) === esm.getBus(one), esm.getBus(other) === cjs.getBus(other));`,
    );

    expect(printed).toBe("EventBus,getBus EventBus,getBus\ntrue\ntrue true\n");
  });

  test("needs no Node API, and no global but those of the language", async () => {
    const { text } = await bundle(
      `import { getBus } from "@kernia/events";
       const logged = [];
       const bus = getBus({ logger: { error: (...args) => logged.push(...args) } });
       bus.on("a", async () => { throw "failure"; });
       globalThis.result = bus.emit("a", 1).then(() => logged.join());`,
      { format: "iife" },
    );
    const realm = createContext({ console: undefined });
    runInContext(text, realm);

    expect(await realm["result"]).toBe("Event handler failed:,a,failure");
  });

  test("costs at most 640 bytes, minified and compressed, everything included", async () => {
    const options = { minify: true, format: "esm", target: "es2022" } as const;
    const { contents } = await bundle('export * from "@kernia/events";', options);
    const bytes = brotliCompressSync(contents).length;

    console.log(`@kernia/events: ${bytes} bytes minified and brotli-compressed`);
    expect(bytes).toBeLessThanOrEqual(640);
  });

  test("adds nothing to the bundle of somebody who does not use what they import", async () => {
    const { text } = await bundle('import "@kernia/events";', { format: "esm" });

    expect(text.trim()).toBe("");
  });
});

describe("the types", () => {
  test("compile by themselves, from an ES module and from CommonJS", async () => {
    const source = `
      import { EventBus, getBus } from "@kernia/events";
      const bus: EventBus = getBus({ pluginState: { events: new EventBus() } });
      bus.on("user.deleted", ({ userId }) => userId.trim());
      // @ts-expect-error
      export const emitted = bus.emit("user.deleted", {});`;
    for (const name of ["types.mts", "types.cts"]) {
      writeFileSync(join(installed.folder, name), source);
    }
    const options = "--strict --noEmit --module nodenext --lib es2022 --types --listFiles";
    const args = [...options.split(" "), "types.mts", "types.cts"];

    const files = await node(installed.folder, tsc, ...args);

    expect(files).toContain("@kernia/events/dist/index.d.ts");
    expect(files).toContain("@kernia/events/dist/index.d.cts");
  });

  test.each(["dist/index.d.ts", "dist/index.d.cts"])(
    "%s documents every exported name, and every method of the bus",
    (file) => {
      const declarations = readFileSync(join(installed.package, file), "utf8");
      const exported = /export \{([^}]+)\}/.exec(declarations)![1]!;
      const names = exported.split(",").map((name) => name.replace("type ", "").trim());

      expect(names.sort().join(" ")).toBe(
        "AuthContext EventBus EventHandler EventName EventPayload Events Logger MemberEvent UserEvent getBus",
      );
      const declared = names.map((name) => `(declare )?(interface|type|const|function) ${name}\\b`);
      for (const each of [...declared, " +on<", " +off<", " +emit<"]) {
        expect(declarations).toMatch(new RegExp(`\\*/\\n${each}`));
      }
    },
  );
});
