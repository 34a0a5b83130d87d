import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { drawChart } from "./chart";
import { contenders } from "./contenders";
import { measureEmit } from "./emit";
import { measureNames, measureRegistrations } from "./memory";
import { printTable, printTargets, type Table } from "./report";
import { measureSizes } from "./size";
import { measureGrowth, measureSubscribe } from "./subscribe";
import { targetsOf } from "./targets";
import { versionOf } from "./version-of";

const { json, chart } = parseArgs({
  options: { json: { type: "boolean" }, chart: { type: "string" } },
}).values;
const print = (table: Table) => {
  if (!json) printTable(table);
  return table;
};

const runtime = `Node ${process.version}, V8 ${process.versions.v8}, ${process.platform} ${process.arch}, ${cpus()[0]?.model}`;
const versions = Object.fromEntries(
  contenders.flatMap(({ package: name }) => (name ? [[name, versionOf(name)]] : [])),
);
const packages = Object.entries(versions)
  .map((entry) => entry.join(" "))
  .join(", ");
if (!json) {
  console.log(runtime);
  console.log(packages);
  console.log(
    "Processor time; × is how many times the library's figure, within a round; lower is better.",
  );
}

const emit: Record<string, Table> = {};
for (const kind of ["sync", "async"] as const) {
  for (const count of [0, 1, 3, 10, 100]) {
    if (kind === "async" && count === 0) continue;
    emit[`${count} ${kind}`] = print(await measureEmit(kind, count));
  }
}
const subscribe: Record<string, Table> = {};
for (const count of [100, 1_000, 10_000, 30_000]) {
  subscribe[count] = print(await measureSubscribe(count));
}
const growth = await measureGrowth(1_000, 30_000);
const memory = {
  registration: print(await measureRegistrations()),
  name: print(await measureNames()),
};
const size = print(await measureSizes());
const targets = targetsOf({ emit, subscribe, growth, memory, size });

if (json) {
  const tables = [emit, subscribe, memory, { size }].flatMap((group) => Object.values(group));
  console.log(JSON.stringify({ runtime, versions, tables, targets }, null, 2));
} else {
  printTargets(targets);
}
if (chart !== undefined) {
  const tables = [emit["10 async"]!, emit["10 sync"]!, subscribe["30000"]!];
  writeFileSync(chart, drawChart(tables, ["Shorter bars are better.", runtime, packages]));
}
