import { withDeferred, type Defer } from "../../fixtures/deferred";
import { startPostgres } from "../../fixtures/postgres";
import { dim, heading, red } from "../../fixtures/print";
import { standardEvents } from "../../examples/standard-events";
import { membershipChanges } from "../../membership-changes/membership-changes";
import { observe, Recorder } from "../../membership-changes/observe";
import { startServer } from "../../membership-changes/server";
import { drizzleEngines } from "./drizzle";
import type { Engine } from "../../membership-changes/database";
import { kyselyEngines } from "./kysely";
import { memory } from "./memory";
import { prismaEngines } from "./prisma";

/**
 * Makes each change on each database, once with `standardEvents()` and once without: the events have to
 * be right, and all else as it is without. Arguments choose: `mariadb drizzle` are the databases with
 * either in their name.
 */
const engines = [...kyselyEngines, ...drizzleEngines, ...prismaEngines, memory];
const wanted = process.argv.slice(2).map((word) => word.toLowerCase());
const chosen = engines.filter(
  ({ name }) => wanted.length === 0 || wanted.some((word) => name.toLowerCase().includes(word)),
);
if (chosen.length === 0) {
  console.error(
    `No database has that name. There are:\n${engines.map(({ name }) => name).join("\n")}`,
  );
  process.exit(2);
}

// Better Auth prints what a request failed with, which is compared here.
console.error = () => {};
const results = await withDeferred(async (defer) => {
  // One server for all that need it.
  process.env["DATABASE_URL"] = await startPostgres(defer);
  const results: Result[] = [];
  for (const engine of chosen) {
    heading(engine.name);
    results.push(await withDeferred((defer) => run(engine, defer)).catch(didNotRun(engine)));
  }
  return results;
});
console.table(results);
process.exitCode = results.every(({ isRight }) => isRight) ? 0 : 1;

async function run({ name, open }: Engine, defer: Defer): Promise<Result> {
  const recorder = new Recorder();
  const plugins = [standardEvents(), recorder.plugin()];
  const server = await startServer(defer, await open(defer), { plugins });
  recorder.server = server;
  const without = await startServer(defer, await open(defer));

  const possible = membershipChanges.filter(
    ({ needsTransactions }) => server.database.transactions || !needsTransactions,
  );
  const comparable = possible.filter(({ concurrent }) => !concurrent);
  let [right, unchanged] = [0, 0];
  for (const change of possible) {
    const { faults, behaviour } = await observe(change, server, recorder);
    if (faults.length === 0) right++;
    else report(change.name, faults);
    if (!comparable.includes(change)) continue;
    const { behaviour: expected } = await observe(change, without);
    if (behaviour === expected) unchanged++;
    else report(change.name, [`without: ${expected}`, `with: ${behaviour}`]);
  }
  const left = membershipChanges.length - possible.length;
  if (left > 0) console.log(dim(`  ${left} changes by SCIM not made: it needs transactions`));
  return {
    database: name,
    "events right": `${right} of ${possible.length}`,
    unchanged: `${unchanged} of ${comparable.length}`,
    isRight: right === possible.length && unchanged === comparable.length,
  };
}

interface Result extends Record<string, unknown> {
  readonly isRight: boolean;
}

function didNotRun({ name }: Engine) {
  return (error: unknown): Result => {
    console.log(red(`  did not run: ${String(error)}`));
    return { database: name, "events right": "did not run", isRight: false };
  };
}

function report(name: string, lines: readonly string[]): void {
  console.log(`  ${red(name)}`);
  for (const line of lines) console.log(`    ${line}`);
}
