import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";
import { build } from "esbuild";
import { contenders, type Contender, type Emitter, type Handler, type Payload } from "./contenders";
import { median, takeTurns, type Entry, type Figure } from "./rounds";

export interface Table {
  readonly title: string;
  readonly unit: "ns" | "bytes";
  readonly figures: readonly Figure[];
}

/** A bus carries several events; with one alone, a compiler turns the look-up of its name into none. */
const events = [
  "organization.member.added",
  "organization.member.removed",
  "organization.member.updated",
  "user.deleted",
];
const payload: Payload = {
  organizationId: "org_1",
  userId: "user_1",
  role: "member",
  action: "added",
};
/** In handlers called: a contender looks at the clock after these. */
const handlersAtATime = 10_000;
const handlersInMemory = 100_000;

/** The last emitter, so that it is not collected while the next is measured. */
export let kept: Emitter | undefined;
/** What the handlers change, so that no compiler leaves them out. */
export let seen = 0;

// Several functions, as several plugins have: one alone would be inlined into its caller.
const makers: Record<"sync" | "async", readonly (() => Handler)[]> = {
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

function makeHandlers(kind: "sync" | "async", count: number): Handler[] {
  return Array.from({ length: count }, (_, index) => makers[kind][index % 5]!());
}

/** One emit with so many handlers, until all of them are done, of each of the events in turn. */
export async function measureEmit(kind: "sync" | "async", count: number): Promise<Table> {
  const entries = contenders
    .filter(({ awaitsNothing }) => kind === "sync" || !awaitsNothing)
    .map((contender): Entry => {
      const emitter = contender.create();
      for (const event of events) {
        for (const handler of makeHandlers(kind, count)) emitter.on(event, handler);
      }
      const awaited = kind === "async" || contender.alwaysAwaited === true;
      const pieces = Math.ceil(handlersAtATime / (count + 1));
      let turn = 0;
      const emit = () => emitter.emit(events[turn++ % events.length]!, payload);
      return {
        name: contender.name,
        pieces,
        async work() {
          if (awaited) for (let done = 0; done < pieces; done++) await emit();
          else for (let done = 0; done < pieces; done++) emit();
        },
      };
    });
  const title = `emit, ${count} ${kind} handler${count === 1 ? "" : "s"}`;
  return { title, unit: "ns", figures: await takeTurns(entries) };
}

/**
 * Subscribes so many handlers and unsubscribes them in the same order; the time per handler.
 *
 * Nothing is collected by force in between: V8 then hands the memory back to the system, and each round
 * would measure how fast a shared machine gives it out again.
 */
export async function measureSubscribe(count: number): Promise<Table> {
  const handlers = makeHandlers("sync", count);
  const entries = subscribing().map(({ name, create }): Entry => ({
    name,
    pieces: count,
    work() {
      const emitter = create();
      const unsubscribes = handlers.map((handler) => emitter.on(events[0]!, handler));
      for (const unsubscribe of unsubscribes) unsubscribe?.();
    },
  }));
  const title = `subscribe and unsubscribe ${count.toLocaleString("en")} handlers, per handler`;
  return { title, unit: "ns", figures: await takeTurns(entries) };
}

/** Bytes of heap for each handler: of one event, or of a name of its own, without the name itself. */
export async function measureMemory(per: "registration" | "name"): Promise<Table> {
  const handlers = makeHandlers("sync", handlersInMemory);
  const nameOf = (index: number) => (per === "name" ? `plugin.event.${index}` : events[0]!);
  const names = handlers.map((_, index) => nameOf(index));
  const figures: [string, number][] = [];
  for (const { name, create } of subscribing()) {
    const bytes = [await measure(create), await measure(create), await measure(create)];
    figures.push([name, median(bytes)]);
  }
  return { title: `memory per ${per}`, unit: "bytes", figures: compared(figures) };

  async function measure(create: Contender["create"]): Promise<number> {
    const before = heapUsed();
    const emitter = create();
    handlers.forEach((handler, index) => void emitter.on(names[index]!, handler));
    // What a contender keeps for emits counts too.
    for (const event of new Set(names)) await emitter.emit(event, payload);
    const bytes = heapUsed() - before;
    kept = emitter;
    return bytes / handlersInMemory;
  }
}

/** What the import of each adds to a bundle, minified and brotli-compressed. */
export async function measureSizes(): Promise<Table> {
  const figures: [string, number][] = [];
  for (const { name, imports } of contenders) {
    if (!imports) continue;
    const contents = `export { ${imports} } from "${name}"`;
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      platform: "browser",
      write: false,
    });
    figures.push([name, brotliCompressSync(outputFiles[0]!.contents).length]);
  }
  return { title: "size, minified and compressed", unit: "bytes", figures: compared(figures) };
}

function subscribing(): Contender[] {
  return contenders.filter(({ cannotUnsubscribe }) => !cannotUnsubscribe);
}

function heapUsed(): number {
  globalThis.gc!();
  return process.memoryUsage().heapUsed;
}

function compared(figures: readonly [string, number][]): Figure[] {
  const own = figures[0]![1];
  return figures.map(([name, value]) => ({ name, value, multiple: value / own }));
}
