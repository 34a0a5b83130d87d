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
const results: Result[] = [];
await withDeferred(async (defer) => {
  // One server for all that need it.
  process.env["DATABASE_URL"] = await startPostgres(defer);
  for (const engine of chosen) {
    heading(engine.name);
    const result = await withDeferred((defer) => run(engine, defer)).catch((error: unknown) => {
      console.log(red(`  did not run: ${String(error)}`));
    });
    const { length: changes } = membershipChanges;
    results.push({ database: engine.name, changes, right: 0, ...result });
  }
});
console.table(results);
process.exitCode = results.every(({ changes, right }) => changes === right) ? 0 : 1;

interface Result {
  readonly database: string;
  readonly changes: number;
  readonly right: number;
}

async function run({ open }: Engine, defer: Defer): Promise<Partial<Result>> {
  const recorder = new Recorder();
  const plugins = [standardEvents(), recorder.plugin()];
  const server = await startServer(defer, await open(defer), { plugins });
  recorder.server = server;
  const without = await startServer(defer, await open(defer));

  const possible = membershipChanges.filter(
    ({ needsTransactions }) => server.database.transactions || !needsTransactions,
  );
  let right = 0;
  for (const change of possible) {
    const { faults, behaviour } = await observe(change, server, recorder);
    const wrong = [...faults];
    // Which of several requests succeeds is not always the same.
    const expected = change.concurrent ? behaviour : (await observe(change, without)).behaviour;
    if (behaviour !== expected) wrong.push(`without: ${expected}`, `with: ${behaviour}`);
    if (wrong.length === 0) right++;
    else console.log([`  ${red(change.name)}`, ...wrong].join("\n    "));
  }
  const left = membershipChanges.length - possible.length;
  if (left > 0) console.log(dim(`  ${left} changes by SCIM not made: it needs transactions`));
  return { changes: possible.length, right };
}
