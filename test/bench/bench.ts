import { cpus } from "node:os";
import { contenders } from "./contenders";
import { measureEmit } from "./emit";
import { measureNames, measureRegistrations } from "./memory";
import { printTable, printTargets, type Table } from "./report";
import { measureSizes } from "./size";
import { measureSubscribe } from "./subscribe";
import { targetsOf } from "./targets";
import { versionOf } from "../version-of";

const asJson = process.argv.includes("--json");
const print = (table: Table) => {
  if (!asJson) printTable(table);
  return table;
};

const runtime = `Node ${process.version}, V8 ${process.versions.v8}, ${process.platform} ${process.arch}, ${cpus()[0]?.model}`;
const versions = Object.fromEntries(
  contenders.flatMap(({ package: name }) => (name ? [[name, versionOf(name)]] : [])),
);
if (!asJson) {
  console.log(runtime);
  console.log(
    Object.entries(versions)
      .map((entry) => entry.join(" "))
      .join(", "),
  );
  console.log("Medians; × is how many times the library's figure; less is better.");
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
  subscribe[count] = print(measureSubscribe(count));
}
const memory = [print(await measureRegistrations()), print(await measureNames())];
const size = print(await measureSizes());
const targets = targetsOf({ emit, subscribe, size });

if (asJson) {
  const tables = [...Object.values(emit), ...Object.values(subscribe), ...memory, size];
  console.log(JSON.stringify({ runtime, versions, tables, targets }, null, 2));
} else {
  printTargets(targets);
}
