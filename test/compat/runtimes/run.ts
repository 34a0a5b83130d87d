import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { withDeferred } from "../../fixtures/deferred";
import { node, run } from "../../fixtures/npm";
import { green, red } from "../../fixtures/print";
import { createTemporaryFolder } from "../../fixtures/temporary-folder";
import { bundleUnitTests } from "./bundle";
import type { Report } from "./run-tests";

const require = createRequire(import.meta.url);
const versionOf = (name: string): string => require(`${name}/package.json`).version;
const bun = require.resolve("bun/package.json").replace("package.json", "bin/bun.exe");
const deno = require.resolve("deno/bin.cjs");

await test(`Node ${process.versions.node}`, () => runScript((cwd, script) => node(cwd, script)));
await test(`Bun ${versionOf("bun")}`, () => runScript((cwd, script) => run(bun, [script], cwd)));
// Deno gives a script no permission that it is not told to give.
await test(`Deno ${versionOf("deno")}`, () =>
  runScript((cwd, script) => node(cwd, deno, "run", script)));
await test(`workerd ${versionOf("workerd")}`, runInWorker);

async function test(runtime: string, run: () => Promise<Report>): Promise<void> {
  const { passed, failures } = await run().catch((error) => ({ passed: 0, failures: [error] }));
  const succeeded = passed > 0 && failures.length === 0;
  if (!succeeded) process.exitCode = 1;
  const paint = succeeded ? green : red;
  console.log(`${runtime}: ${paint(`${passed} passed, ${failures.length} failed`)}`);
  for (const failure of failures) console.log(`  ${failure}`);
}

/** As a script that prints the report; these runtimes end it where nobody handles a rejection. */
function runScript(run: (cwd: string, script: string) => Promise<string>): Promise<Report> {
  return withDeferred(async (defer) => {
    const folder = await createTemporaryFolder(defer);
    const tests = await bundleUnitTests("console.log(JSON.stringify(await runTests(files)));");
    await writeFile(join(folder, "tests.mjs"), tests);
    return JSON.parse(await run(folder, "tests.mjs"));
  });
}

/** In workerd, while a worker answers a request. */
async function runInWorker(): Promise<Report> {
  const fetch = "async () => Response.json(await runTests(files))";
  const miniflare = new Miniflare({
    modules: true,
    script: await bundleUnitTests(`export default { fetch: ${fetch} };`),
    compatibilityFlags: ["nodejs_als"],
  });
  try {
    const response = await miniflare.dispatchFetch("http://localhost");
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as Report;
  } finally {
    await miniflare.dispose();
  }
}
