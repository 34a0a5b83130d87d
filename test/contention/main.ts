import { parseArgs } from "node:util";
import { withDeferred } from "../fixtures/deferred";
import { heading } from "../fixtures/print";
import { printCost } from "./cost";
import { kinds } from "./judge";
import { faultsOf, runLoad, runSilentLoad, type LoadOptions, type LoadResult } from "./load";
import { houses, runPairs } from "./run-pairs";
import { startContendedPostgres } from "./server";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "30" },
    seed: { type: "string", default: "1" },
    /** Only those whose title has it in it. */
    only: { type: "string", default: "" },
    pairs: { type: "boolean", default: false },
    cost: { type: "boolean", default: false },
  },
});

await withDeferred(async (defer) => {
  const serverUrl = await startContendedPostgres(defer);
  if (values.cost) return printCost(serverUrl, defer);
  if (values.pairs) {
    const faults = await runPairs(serverUrl, defer, values.only);
    if (faults > 0) process.exitCode = 1;
    return;
  }
  const options = { seconds: Number(values.seconds), seed: Number(values.seed) };
  for (const [title, house] of Object.entries(houses)) {
    if (!title.includes(values.only)) continue;
    heading(`${title}, ${options.seconds} seconds, seed ${options.seed}`);
    await printLoad(serverUrl, { ...house, ...options });
  }
  if (!values.only) {
    heading(`with transactions, while some join what is being deleted (this is not promised)`);
    print(await runLoad(serverUrl, { ...options, joinsWhileDeleting: true }));
  }
});

async function printLoad(serverUrl: string, options: LoadOptions): Promise<void> {
  const without = await runSilentLoad(serverUrl, options);
  const result = await runLoad(serverUrl, options);
  print(result);
  console.log(
    `  without the plugin: ${without.changes} changes, ${without.failed} failed, ${without.deadlocks} deadlocks`,
  );
  // Of two servers without transactions, both may tell.
  const promised = !(options.twoServers && options.withoutTransactions);
  if (promised && faultsOf(result.verdict) > 0) process.exitCode = 1;
}

function print({ changes, owed, told, failed, deadlocks, verdict }: LoadResult): void {
  console.log(`  ${changes} changes, ${failed} failed, ${deadlocks} deadlocks`);
  console.log(`  ${owed} events to tell, ${told} told`);
  for (const kind of kinds) {
    console.log(`  ${kind}: ${verdict[kind].length}`);
    for (const event of verdict[kind].slice(0, 3)) console.log(`    ${event.slice(0, 200)}`);
  }
}
