import { Deferred, withDeferred, type Defer } from "../../fixtures/deferred";
import { startPostgres } from "../../fixtures/postgres";
import { bold, dim, green, heading, red } from "../../fixtures/print";
import { paths, type Path } from "../../membership-changes/membership-changes";
import { Recorder } from "../../membership-changes/recorder";
import { startServer, type Server } from "../../membership-changes/server";
import { standardEvents } from "../../examples/standard-events";
import { contend, type Contention } from "./contention";
import type { Engine } from "./engine";
import { engines } from "./engines";
import { take } from "./outcome";
import { slower } from "./slower";

/**
 * Takes all paths on each database, and lets many changes meet; once with `standardEvents()` and once
 * without any plugin of ours. Arguments choose: `mariadb drizzle` are those with either in the name.
 */
const wanted = process.argv.slice(2).map((word) => word.toLowerCase());
const chosen = engines.filter(
  ({ name }) => wanted.length === 0 || wanted.some((word) => name.toLowerCase().includes(word)),
);
const seed = Number(process.env["SEED"] ?? 17);
/** How often a path is taken whose behaviour differs: where changes race, either may be first. */
const mostTries = 6;

interface Cell {
  readonly text: string;
  readonly right: boolean;
}
type Row = readonly [adapter: Cell, ...cells: Cell[]];

if (chosen.length === 0) {
  console.error(
    `No database is called so. There are:\n${engines.map(({ name }) => name).join("\n")}`,
  );
  process.exit(2);
}
// Better Auth prints what a request failed with, which is counted here.
console.error = () => {};
const deferred = new Deferred();
const rows: Row[] = [];
try {
  // One for all that need it.
  if (chosen.some(({ name }) => name.includes("PostgreSQL"))) {
    process.env["DATABASE_URL"] = await startPostgres(deferred.defer);
  }
  for (const engine of chosen) {
    heading(engine.name);
    rows.push(await judge(engine));
  }
} finally {
  await deferred.run();
}
const header = [
  "adapter",
  "told rightly",
  "unchanged",
  "rounds told",
  "deadlocks (without)",
  "other errors",
  "not run",
];
printTable(header, rows);
process.exitCode = rows.flat().every(({ right }) => right) ? 0 : 1;

async function judge(engine: Engine): Promise<Row> {
  const adapter: Cell = { text: engine.name, right: true };
  try {
    const cells = await withDeferred((defer) => judgePaths(engine, defer));
    const [without, with_] = [
      await contend(engine, false, seed),
      await contend(engine, true, seed),
    ];
    return [adapter, ...cells.slice(0, 2), ...judgeContention(without, with_), ...cells.slice(2)];
  } catch (error) {
    const { message, cause } = error as Error;
    console.log(red(`  did not run: ${message}`));
    if (cause instanceof Error) console.log(`  ${cause.message}`);
    return [adapter, { text: "did not run", right: false }];
  }
}

async function judgePaths(engine: Engine, defer: Defer): Promise<Cell[]> {
  const recorder = new Recorder();
  const open = async () => engine.open(await engine.create(defer), defer);
  const server = await startServer(defer, await open(), {
    plugins: [recorder.plugin(), standardEvents()],
  });
  recorder.watch(server);
  // Where changes race, either may be first; which of them is depends on how long each takes.
  const servers = [
    await startServer(defer, await open()),
    await startServer(defer, await open(), { plugins: [slower()] }),
  ];
  const possible = paths.filter((path) => server.database.transactions || !path.needsTransactions);
  let [told, unchanged] = [0, 0];
  const unprepared: string[] = [];
  let failure: unknown;
  const attempt = (path: Path, at: Server, by?: Recorder) =>
    take(path, at, by).catch((error: unknown) => void (failure = error));

  for (const path of possible) {
    const seen = new Set<string>();
    const seenWithout = new Set<string>();
    const wrong: string[] = [];
    for (let tries = 0; tries < mostTries; tries++) {
      const outcome = await attempt(path, server, recorder);
      if (!outcome) continue;
      if (wrong.length === 0) wrong.push(...outcome.wrong);
      seen.add(outcome.behaviour);
      const other = await attempt(path, servers[tries % 2]!);
      if (other) seenWithout.add(other.behaviour);
      if ([...seen].some((behaviour) => seenWithout.has(behaviour))) break;
    }
    // What comes before it failed, each time.
    if (seen.size === 0 || seenWithout.size === 0) {
      unprepared.push(`${path.name} (${failure})`);
      continue;
    }
    const same = [...seen].some((behaviour) => seenWithout.has(behaviour));
    if (wrong.length === 0) told++;
    else report(path, wrong);
    if (same) unchanged++;
    else report(path, differences([...seenWithout][0]!, [...seen][0]!));
  }
  const all = possible.length - unprepared.length;
  for (const name of unprepared)
    console.log(dim(`  not run, for what comes before it fails: ${name}`));
  const left = paths.length - all;
  if (left > unprepared.length)
    console.log(
      dim(`  ${left - unprepared.length} paths by SCIM not run: it demands transactions`),
    );
  return [
    { text: `${told} of ${all}`, right: told === all },
    { text: `${unchanged} of ${all}`, right: unchanged === all },
    {
      text: [
        left > unprepared.length ? `${left - unprepared.length} (SCIM)` : "",
        unprepared.length,
      ]
        .filter(Boolean)
        .join(", "),
      right: unprepared.length === 0,
    },
  ];
}

function judgeContention(without: Contention, with_: Contention): Cell[] {
  const right = with_.rounds - with_.wrong.length;
  for (const line of with_.wrong) console.log(`  ${red(line)}`);
  const codes = ({ codes }: Contention) =>
    Object.entries(codes)
      .map(([code, count]) => `${count} ${code}`)
      .join(", ") || "nothing";
  console.log(dim(`  failed with: ${codes(with_)}; without the plugin: ${codes(without)}`));

  const [deadlocks, deadlocksWithout] = [deadlocksOf(with_), deadlocksOf(without)];
  const [errors, errorsWithout] = [with_.failed - deadlocks, without.failed - deadlocksWithout];
  return [
    { text: `${right} of ${with_.rounds}`, right: right === with_.rounds },
    {
      text: `${deadlocks} (${deadlocksWithout})`,
      // What comes without the plugin comes now more often, now less.
      right: deadlocks <= deadlocksWithout + 2 * Math.sqrt(deadlocksWithout),
    },
    {
      // Better Auth itself has a few, where a user is gone between two of its queries.
      text: `${errors} (${errorsWithout})`,
      right: errors <= errorsWithout + 2 * Math.sqrt(errorsWithout + 1),
    },
  ];
}

/** How often the database gave up what waited for another. */
function deadlocksOf({ codes }: Contention): number {
  return Object.entries(codes)
    .filter(([code]) => /deadlock|lock_wait|checkread|busy|locked|40P01|40001|P2034/i.test(code))
    .reduce((sum, [, count]) => sum + count, 0);
}

function report({ name }: Path, lines: readonly string[]): void {
  console.log(`  ${red(name)}`);
  for (const line of lines) console.log(`    ${line}`);
}

/** The lines that the one has and the other has not. */
function differences(without: string, with_: string): string[] {
  const [one, other] = [without.split("\n"), with_.split("\n")];
  return [
    ...one.filter((line) => !other.includes(line)).map((line) => `without: ${line.trim()}`),
    ...other.filter((line) => !one.includes(line)).map((line) => `with:    ${line.trim()}`),
  ];
}

function printTable(header: readonly string[], rows: readonly Row[]): void {
  const lines = [header, ...rows.map((row) => row.map(({ text }) => text))];
  const widths = header.map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  console.log(`\n${bold(header.map((name, column) => name.padEnd(widths[column]!)).join("   "))}`);
  for (const row of rows) {
    const cells = row.map(({ text, right }, column) => {
      const padded = text.padEnd(widths[column]!);
      return column === 0 ? padded : right ? green(padded) : red(`${padded.trimEnd()} ✗`);
    });
    console.log(cells.join("   "));
  }
}
