import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";
import { brotliCompressSync } from "node:zlib";
import { build } from "esbuild";
import { publint } from "publint";
import { beforeAll, describe, expect, test } from "vitest";
import { installPackedTarball, node, type Installed } from "./installed";
import { deferToEnd } from "../fixtures/defer-to-end";

const defer = deferToEnd();

const { resolve } = createRequire(import.meta.url);

let installed: Installed;

beforeAll(async () => {
  installed = await installPackedTarball(defer);
});

const read = (file: string) =>
  readFile(join(installed.folder, "node_modules/@kernia/events", file), "utf8");

/** Runs the source as a file of this name beside the installed package. */
async function runBeside(name: string, source: string): Promise<string> {
  await writeFile(join(installed.folder, name), source);
  return node(installed.folder, name);
}

const useIt = `
  const auth = { pluginState: {} };
  const seen = [];
  getBus(auth).on("user.deleted", async ({ userId }) => seen.push(userId));
  getBus(auth).emit("user.deleted", { userId: "u_1", action: "deleted" }).then(() => {
    if (!(auth.pluginState.events instanceof EventBus)) throw new Error("no EventBus");
    console.log(seen.join());
  });
`;

describe("the tarball", () => {
  test("holds the built files, the README and the licence, and nothing else", () => {
    expect(installed.files).toEqual([
      "LICENSE",
      "README.md",
      "dist/index.cjs",
      "dist/index.d.cts",
      "dist/index.d.ts",
      "dist/index.js",
      "package.json",
    ]);
  });

  test("has no dependencies, and nothing that runs on installing it", async () => {
    const manifest = JSON.parse(await read("package.json"));

    expect(manifest).not.toHaveProperty("dependencies");
    expect(manifest).not.toHaveProperty("peerDependencies");
    expect(Object.keys(manifest.scripts)).not.toContain("postinstall");
  });

  test("leaves publint --strict nothing to say", async () => {
    const tarball = new Uint8Array(await readFile(installed.tarball)).buffer;

    const { messages } = await publint({ pack: { tarball }, strict: true });

    expect(messages).toEqual([]);
  });

  test("leaves attw nothing to say", async () => {
    const attw = resolve("@arethetypeswrong/cli/package.json").replace(
      "package.json",
      "dist/index.js",
    );

    expect(await node(installed.folder, attw, installed.tarball)).toContain("No problems found");
  });
});

describe("the installed package", () => {
  test("is used from ESM", async () => {
    const source = `import { EventBus, getBus } from "@kernia/events";${useIt}`;

    expect(await runBeside("esm.mjs", source)).toBe("u_1\n");
  });

  test("is used from CommonJS", async () => {
    const source = `const { EventBus, getBus } = require("@kernia/events");${useIt}`;

    expect(await runBeside("cjs.cjs", source)).toBe("u_1\n");
  });

  test.each([
    ["both.mjs", "import * as one from '@kernia/events';", "Object.keys(one)"],
    ["keys.cjs", "const one = require('@kernia/events');", "Object.keys(one)"],
  ])("exports EventBus and getBus, and no other value (%s)", async (name, load, keys) => {
    const printed = await runBeside(name, `${load} console.log(${keys}.sort().join());`);

    expect(printed).toBe("EventBus,getBus\n");
  });

  test("shares one bus between its ESM and its CommonJS build", async () => {
    const printed = await runBeside(
      "shared.mjs",
      `import { createRequire } from "node:module";
       import * as esm from "@kernia/events";
       const cjs = createRequire(import.meta.url)("@kernia/events");
       const [one, other] = [{ pluginState: {} }, { pluginState: {} }];
       console.log(cjs.EventBus !== esm.EventBus);
       console.log(cjs.getBus(one) === esm.getBus(one), esm.getBus(other) === cjs.getBus(other));`,
    );

    expect(printed).toBe("true\ntrue true\n");
  });

  test("needs no Node API, and no global but those of the language", async () => {
    const { outputFiles } = await build({
      stdin: {
        contents: `import { getBus } from "@kernia/events";
          const seen = [];
          const bus = getBus({ logger: { error: (...logged) => seen.push(...logged) } });
          bus.on("a", async () => { throw "failure"; });
          globalThis.result = bus.emit("a", 1).then(() => seen.join());`,
        resolveDir: installed.folder,
      },
      bundle: true,
      format: "iife",
      write: false,
    });
    const realm = createContext({ console: undefined });
    runInContext(outputFiles[0]!.text, realm);

    expect(await realm["result"]).toBe("Event handler failed:,a,failure");
  });

  test("costs at most 640 bytes, minified and brotli-compressed, everything included", async () => {
    const { outputFiles } = await build({
      stdin: { contents: 'export * from "@kernia/events";', resolveDir: installed.folder },
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      write: false,
    });
    const bytes = brotliCompressSync(outputFiles[0]!.contents).length;

    console.log(`@kernia/events: ${bytes} bytes minified and brotli-compressed`);
    expect(bytes).toBeLessThanOrEqual(640);
  });

  test("leaves nothing in the bundle of somebody who does not use what they import", async () => {
    const { outputFiles } = await build({
      stdin: { contents: 'import "@kernia/events";', resolveDir: installed.folder },
      bundle: true,
      format: "esm",
      write: false,
      logLevel: "silent",
    });

    expect(outputFiles[0]!.text.trim()).toBe("");
  });
});

describe.each(["dist/index.d.ts", "dist/index.d.cts"])("%s", (file) => {
  test("documents every exported name", async () => {
    const declarations = await read(file);
    const exported = /export \{([^}]+)\}/.exec(declarations)?.[1] ?? "";
    const names = exported.split(",").map((name) => name.replace("type ", "").trim());

    expect(names.sort()).toEqual([
      "AuthContext",
      "EventBus",
      "EventHandler",
      "EventName",
      "EventPayload",
      "Events",
      "Logger",
      "MemberEvent",
      "UserEvent",
      "getBus",
    ]);
    for (const name of names) {
      expect(declarations).toMatch(
        new RegExp(`\\*/\\n(declare )?(interface|type|const|function) ${name}\\b`),
      );
    }
  });

  test("documents every method of the bus", async () => {
    const declarations = await read(file);

    for (const method of ["on", "off", "emit"]) {
      expect(declarations).toMatch(new RegExp(`\\*/\\n +${method}<`));
    }
  });
});
