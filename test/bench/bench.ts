import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { green, heading, red } from "../fixtures/print";
import { drawChart, format } from "./chart";
import { awaitAlways, awaitNothing, peers, type Handler } from "./peers";
import { takeTurns, type Entry, type Table } from "./rounds";

/** A bus carries several events; with one alone, a compiler turns the look-up of its name into none. */
const events = ["organization.member.added", "organization.member.removed", "user.deleted"];
const payload = { organizationId: "o", userId: "u", role: "member", action: "added" } as const;
/** What the handlers change, so that no compiler leaves them out. */
export let seen = 0;

// Several functions, as several plugins have: fewer would be inlined into their caller.
const create: Record<"sync" | "async", readonly (() => Handler)[]> = {
  sync: [
    () => (payload) => void (seen += payload.role.length),
    () => (payload) => void (seen += payload.userId.length),
    () => (payload) => void (seen += payload.action.length),
    () => (payload) => void (seen += payload.organizationId.length),
    () => (payload) => void (seen += payload.role.length + 1),
  ],
  async: [
    () => async (payload) => void (seen += payload.role.length),
    () => async (payload) => void (seen += payload.userId.length),
    () => async (payload) => void (seen += payload.action.length),
    () => async (payload) => void (seen += payload.organizationId.length),
    () => async (payload) => void (seen += payload.role.length + 1),
  ],
};
const createHandlers = (kind: "sync" | "async", count: number) =>
  Array.from({ length: count }, (_, index) => create[kind][index % 5]!());

// A bus has events with one handler, too: V8 is to know both before it optimizes for one.
const sync1 = await measureEmit("sync", 1);
const sync10 = await measureEmit("sync", 10);
const async10 = await measureEmit("async", 10);
const subscribe = await measureSubscribe();

const manifest = readFileSync(new URL("package.json", import.meta.url), "utf8");
const packages = Object.entries<string>(JSON.parse(manifest).dependencies);
const versions = packages.map((entry) => entry.join(" ")).join(", ");
const runtime = `Node ${process.version}, ${process.platform} ${process.arch}, ${cpus()[0]?.model}`;
console.log(`${runtime}\n${versions}`);
for (const { title, figures } of [sync1, sync10, async10, subscribe]) {
  heading(title);
  for (const { name, value, multiple } of figures) {
    console.log(`  ${name.padEnd(20)}${format(value).padStart(9)} ns  ${multiple.toFixed(2)}`);
  }
}

heading("Targets, library : peer");
expectAtMost(1, async10, "hand-written loop");
expectAtMost(0.55, async10, "emittery");
expectAtMost(0.35, async10, "hookable");
expectAtMost(0.3, sync10, "hand-written loop");
expectAtMost(1.4, sync1, "nanoevents");
expectAtMost(1.25, sync10, "nanoevents");
for (const name of ["mitt", "eventemitter3"]) expectAtMost(1, sync10, name);
for (const name of Object.keys(peers).slice(1)) expectAtMost(0.15, subscribe, name);

if (process.argv.includes("--chart")) {
  const footer = ["Shorter bars are better.", runtime, versions];
  const chart = drawChart([async10, sync10, subscribe], footer);
  writeFileSync(new URL("../../.github/benchmark.svg", import.meta.url), chart);
}

/** Emits each of the events in turn, until all of its handlers are done. */
function measureEmit(kind: "sync" | "async", count: number): Promise<Table> {
  const leftOut = kind === "async" ? awaitNothing : [];
  const measured = Object.entries(peers).filter(([name]) => !leftOut.includes(name));
  const entries = measured.map(([name, create]): Entry => {
    const emitter = create();
    for (const event of events) {
      for (const handler of createHandlers(kind, count)) emitter.on(event, handler);
    }
    const awaited = kind === "async" || awaitAlways.includes(name);
    const pieces = 1_000;
    const emit = (turn: number) => emitter.emit(events[turn % events.length]!, payload);
    return {
      name,
      pieces,
      async work() {
        if (awaited) for (let turn = 0; turn < pieces; turn++) await emit(turn);
        else for (let turn = 0; turn < pieces; turn++) emit(turn);
      },
    };
  });
  return takeTurns(`emit, ${count} ${kind} handler${count === 1 ? "" : "s"}`, entries);
}

/** Subscribes handlers of one event, and unsubscribes them in the same order; the time per handler. */
function measureSubscribe(): Promise<Table> {
  const handlers = createHandlers("sync", 30_000);
  const entries = Object.entries(peers).map(([name, create]): Entry => ({
    name,
    pieces: handlers.length,
    work() {
      const emitter = create();
      const unsubscribes = handlers.map((handler) => emitter.on("user.deleted", handler));
      for (const unsubscribe of unsubscribes) unsubscribe();
    },
  }));
  return takeTurns("subscribe and unsubscribe 30,000 handlers, per handler", entries);
}

function expectAtMost(most: number, { title, figures }: Table, peer: string): void {
  const ratio = 1 / figures.find(({ name }) => name === peer)!.multiple;
  const isReached = ratio <= most;
  if (!isReached) process.exitCode = 1;
  const reached = isReached ? green("reached") : red("missed");
  console.log(
    `  ${`${title} : ${peer}`.padEnd(76)}${ratio.toFixed(2)}  at most ${most}  ${reached}`,
  );
}
