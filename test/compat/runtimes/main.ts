import { createRequire } from "node:module";
import { dim, green, red } from "../../fixtures/print";
import { runInPage, startBrowser } from "./browser";
import type { Report } from "./run-tests";
import { runAsScript } from "./script";
import { runInWorker } from "./worker";

const mostShown = 20;
const mostCharacters = 2_000;

const require = createRequire(import.meta.url);
const versionOf = (name: string): string => require(`${name}/package.json`).version;
const bun = require.resolve("bun/package.json").replace("package.json", "bin/bun.exe");
const deno = require.resolve("deno/bin.cjs");

await test(`Node ${process.versions.node}`, () => runAsScript(process.execPath));
await test(`Bun ${versionOf("bun")}`, () => runAsScript(bun));
// Deno gives a script no permission that it is not told to give.
await test(`Deno ${versionOf("deno")}`, () => runAsScript(process.execPath, deno, "run"));
await test(`workerd ${versionOf("workerd")}`, runInWorker);

const browser = await startBrowser().catch((error: Error) => error);
if (browser === undefined) {
  console.log(dim("browser: skipped, for there is no Chromium or Chrome on this machine"));
} else if (browser instanceof Error) {
  console.log(`browser: ${red(`did not start: ${browser.message.split("\n")[0]}`)}`);
  process.exitCode = 1;
} else {
  await test(`Chromium ${browser.version()}`, () => runInPage(browser));
  await browser.close();
}

async function test(runtime: string, run: () => Promise<Report>): Promise<void> {
  const { passed, failures } = await run().catch((error): Report => ({
    passed: 0,
    failures: [String(error).slice(0, mostCharacters)],
  }));
  const succeeded = passed > 0 && failures.length === 0;
  if (!succeeded) process.exitCode = 1;
  const paint = succeeded ? green : red;
  console.log(`${runtime}: ${paint(`${passed} passed, ${failures.length} failed`)}`);
  for (const failure of failures.slice(0, mostShown)) console.log(`  ${failure}`);
  if (failures.length > mostShown) console.log(`  and ${failures.length - mostShown} more`);
}
