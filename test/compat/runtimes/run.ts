import { readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { withDeferred } from "../../fixtures/deferred";
import { node, run } from "../../fixtures/npm";
import { green, red } from "../../fixtures/print";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import type { Report } from "./run-tests";

const require = createRequire(import.meta.url);
const versionOf = (name: string): string => require(`${name}/package.json`).version;
const bun = require.resolve("bun/package.json").replace("package.json", "bin/bun.exe");
const deno = require.resolve("deno/bin.cjs");

await withDeferred(async (defer) => {
  const folder = await createTemporaryFolder(defer);
  const script = "tests.mjs";
  // These runtimes end it where nobody handles a rejection.
  const printing = await bundle("console.log(JSON.stringify(await runTests(files)));");
  await writeFile(join(folder, script), printing);
  await test(`Node ${process.versions.node}`, () => node(folder, script));
  await test(`Bun ${versionOf("bun")}`, () => run(bun, [script], folder));
  // Deno gives a script no permission that it is not told to give.
  await test(`Deno ${versionOf("deno")}`, () => node(folder, deno, "run", script));

  const fetch = "async () => Response.json(await runTests(files))";
  const miniflare = new Miniflare({
    modules: true,
    script: await bundle(`export default { fetch: ${fetch} };`),
    compatibilityFlags: ["nodejs_als"],
  });
  defer(() => miniflare.dispose());
  await test(`workerd ${versionOf("workerd")}`, async () =>
    (await miniflare.dispatchFetch("http://localhost")).text());
});

/** Prints the report of that runtime, which `run` returns as JSON. */
async function test(runtime: string, run: () => Promise<string>): Promise<void> {
  const { passed, failures } = await run()
    .then((report): Report => JSON.parse(report))
    .catch((error: unknown) => ({ passed: 0, failures: [String(error)] }));
  const succeeded = passed > 0 && failures.length === 0;
  if (!succeeded) process.exitCode = 1;
  const paint = succeeded ? green : red;
  console.log(`${runtime}: ${paint(`${passed} passed, ${failures.length} failed`)}`);
  for (const failure of failures) console.log(`  ${failure}`);
}

/** One script of the unit tests but those for Node: `files`, which `deliver` runs with `runTests`. */
async function bundle(deliver: string): Promise<string> {
  const imports = readdirSync(join(import.meta.dirname, "../../unit"))
    .filter((file) => !file.endsWith(".node.test.ts"))
    .map((file) => `"${file}": () => import("../../unit/${file}")`);
  const contents = `
    import { runTests } from "./run-tests";
    const files = { ${imports.join(",\n")} };
    ${deliver}`;
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "neutral",
    mainFields: ["module", "main"],
    external: ["node:*"],
    alias: { vitest: join(import.meta.dirname, "run-tests.ts") },
    // As if there were none, also where there is one: Deno would ask for a permission.
    define: { process: "undefined", "process.env": "{}" },
    write: false,
  });
  return outputFiles[0]!.text;
}
