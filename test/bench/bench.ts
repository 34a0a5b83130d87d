import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { green, heading, red } from "../fixtures/print";
import { drawChart, format } from "./chart";
import { contenders } from "./contenders";
import {
  measureEmit,
  measureMemory,
  measureSizes,
  measureSubscribe,
  type Table,
} from "./measurements";

const { chart } = parseArgs({ options: { chart: { type: "boolean" } } }).values;
const chartFile = new URL("../../.github/benchmark.svg", import.meta.url);
const manifest = readFileSync(new URL("package.json", import.meta.url), "utf8");
const packages = Object.entries<string>(JSON.parse(manifest).dependencies);
const runtime = `Node ${process.version}, V8 ${process.versions.v8}, ${process.platform} ${process.arch}, ${cpus()[0]?.model}`;
const versions = packages.map((entry) => entry.join(" ")).join(", ");
console.log(`${runtime}\n${versions}\n`);
console.log("As multiples of the library's figure, which is in brackets; lower is better.\n");

printRow(
  "",
  contenders.map(({ name }) => name),
);
printRow(
  "---",
  contenders.map(() => "--:"),
);
// Before the others leave garbage.
const registration = await measureMemory("registration");
const name = await measureMemory("name");
const noHandlers = print(await measureEmit("sync", 0));
const sync1 = print(await measureEmit("sync", 1));
const sync10 = print(await measureEmit("sync", 10));
const async1 = print(await measureEmit("async", 1));
const async10 = print(await measureEmit("async", 10));
const async100 = print(await measureEmit("async", 100));
const subscribe1000 = print(await measureSubscribe(1_000));
const subscribe = print(await measureSubscribe(30_000));
print(registration);
print(name);
const size = print(await measureSizes());

heading("Targets, library : contender");
for (const table of [async1, async10, async100]) expectAtMost(1, table, "hand-written loop");
expectAtMost(1.4, sync1, "nanoevents");
expectAtMost(1.25, sync10, "nanoevents");
expectAtMost(1, sync10, "mitt");
expectAtMost(1, sync10, "eventemitter3");
expectAtMost(0.3, sync10, "hand-written loop");
expectAtMost(0.55, async10, "emittery");
expectAtMost(0.35, async10, "hookable");
expectAtMost(1, noHandlers, "mitt");
for (const { name } of subscribe.figures.slice(1)) expectAtMost(0.15, subscribe, name);
const growth = subscribe.figures[0]!.value / subscribe1000.figures[0]!.value;
report("time per handler, 30,000 : 1,000 handlers", growth, 4);
report("bytes per registration", registration.figures[0]!.value, 48);
report("bytes per name with one handler", name.figures[0]!.value, 260);
report("bytes of size", size.figures[0]!.value, 640);

if (chart) {
  const footer = ["Shorter bars are better.", runtime, versions];
  writeFileSync(chartFile, drawChart([async10, sync10, subscribe], footer));
}

function print(table: Table): Table {
  const [own] = table.figures;
  const multiples = contenders.map(({ name }) => {
    const figure = table.figures.find((each) => each.name === name);
    if (!figure) return "–";
    const { multiple } = figure;
    return multiple < 10 ? multiple.toFixed(2) : format(multiple);
  });
  printRow(`${table.title} (${format(own!.value)} ${table.unit})`, ["1", ...multiples.slice(1)]);
  return table;
}

/** A row of a table in Markdown. */
function printRow(title: string, cells: readonly string[]): void {
  console.log(`| ${[title.padEnd(60), ...cells.map((cell) => cell.padStart(13))].join(" | ")} |`);
}

function expectAtMost(most: number, { title, figures }: Table, contender: string): void {
  const { multiple } = figures.find(({ name }) => name === contender)!;
  report(`${title} : ${contender}`, 1 / multiple, most);
}

function report(work: string, value: number, most: number): void {
  const reached = value <= most;
  const columns = [work.padEnd(76), value.toFixed(2).padStart(7), `at most ${most.toFixed(2)}`];
  console.log(`  ${columns.join("  ")}  ${reached ? green("reached") : red("missed")}`);
}
