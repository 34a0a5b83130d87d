import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";
import { brotliCompressSync } from "node:zlib";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { build, type BuildOptions } from "esbuild";
import { publint } from "publint";
import { describe, expect, inject, test } from "vitest";
import { node } from "../fixtures/npm";

const installed = inject("installed");
const manifest = JSON.parse(readFileSync(join(installed.package, "package.json"), "utf8"));

/** Bundles the source as a file in the project of a user. */
async function bundle(contents: string, options: BuildOptions) {
  const stdin = { contents, resolveDir: installed.folder };
  const { outputFiles } = await build({ stdin, bundle: true, ...options, write: false });
  return outputFiles[0]!;
}

describe("the tarball", () => {
  test("is small, and holds no test and no demo", () => {
    const others = installed.files.filter((file) => !file.startsWith("test/examples/"));

    expect(installed.tarballBytes).toBeLessThanOrEqual(60_000);
    expect(others.join(" ")).toBe(
      ".github/CHANGELOG.md .github/SECURITY.md .github/benchmark.svg .github/bus.svg LICENSE README.md " +
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

test.each(installed.files.filter((file) => /^test\/examples\/.*\.(ts|sql)$/.test(file)))(
  "%s names its version, and imports no other file",
  (path) => {
    const text = readFileSync(join(installed.package, path), "utf8");
    const comment = path.endsWith(".sql") ? "--" : "//";
    const { version } = manifest;

    expect(text.split("\n")[0]).toBe(
      `${comment} @kernia/events ${version}: copied from its ${path}`,
    );
    // How a path has to be written depends on the project, and Node runs the file as it is from 23.6 on.
    expect(text).not.toMatch(/(from|import) ?\(?"\./);
  },
);

describe("the installed package", () => {
  test("works as an ES module and as CommonJS, which share one bus", async () => {
    const source = `
      import { createRequire } from "node:module";
      import * as esm from "@kernia/events";
      const cjs = createRequire(import.meta.url)("@kernia/events");
      console.log(Object.keys(esm).sort().join(), Object.keys(cjs).sort().join());
      for (const [one, other] of [[esm, cjs], [cjs, esm]]) {
        const auth = { pluginState: {} };
        one.getBus(auth).on("user.deleted", async ({ userId }) => console.log(userId));
        await other.getBus(auth).emit("user.deleted", { userId: "u_1", action: "deleted" });
        console.log(one.getBus(auth) === other.getBus(auth), one.EventBus === other.EventBus);
      }`;
    writeFileSync(join(installed.folder, "both.mjs"), source);

    const lines = (await node(installed.folder, "both.mjs")).trim().split("\n");

    const used = ["u_1", "true false"];
    expect(lines).toEqual(["EventBus,getBus EventBus,getBus", ...used, ...used]);
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
});

test("the types document every exported name, and every method of the bus", () => {
  const declarations = readFileSync(join(installed.package, "dist/index.d.ts"), "utf8");
  const exported = /export \{([^}]+)\}/.exec(declarations)![1]!;
  const names = exported.split(",").map((name) => name.replace("type ", "").trim());

  expect(names.sort().join(" ")).toBe(
    "AuthContext EventBus EventHandler EventName EventPayload Events Logger MemberEvent UserEvent getBus",
  );
  const declared = names.map((name) => `(declare )?(interface|type|const|function) ${name}\\b`);
  for (const each of [...declared, " +on<", " +off<", " +emit<"]) {
    expect(declarations).toMatch(new RegExp(`\\*/\\n${each}`));
  }
});
