import { contenders, type Contender, type Emitter } from "./contenders";
import { makeHandlers, payload } from "./handlers";
import { compared, type Table } from "./report";
import { median } from "./rounds";

const count = 20_000;

/** Bytes of heap for each registration on one event. */
export function measureRegistrations(): Promise<Table> {
  return measure("memory per registration, on one event", () => "organization.member.added");
}

/** Bytes of heap for each event name that has one handler, without the name itself. */
export function measureNames(): Promise<Table> {
  const names = Array.from({ length: count }, (_, index) => `plugin.event.${index}`);
  return measure("memory per event name with one handler", (index) => names[index]!);
}

async function measure(title: string, eventOf: (index: number) => string): Promise<Table> {
  const handlers = makeHandlers("sync", count);
  const events = new Set(handlers.map((_, index) => eventOf(index)));
  const figures: { name: string; value: number }[] = [];
  for (const contender of contenders) {
    // A loop over a list of handlers is no contender for memory; it holds nothing else.
    if (!contender.unsubscribes) continue;
    const runs: number[] = [];
    for (let run = 0; run < 3; run++) runs.push(await bytesPerHandler(contender));
    figures.push({ name: contender.name, value: median(runs) });
  }
  return { title, unit: "bytes", figures: compared(figures) };

  async function bytesPerHandler(contender: Contender): Promise<number> {
    const emitter = contender.create();
    const before = heapUsed();
    handlers.forEach((handler, index) => void emitter.on(eventOf(index), handler));
    // What a contender keeps for emits counts too.
    for (const event of events) await emitter.emit(event, payload);
    const after = heapUsed();
    keep(emitter);
    return Math.max(0, after - before) / count;
  }
}

function heapUsed(): number {
  globalThis.gc!();
  return process.memoryUsage().heapUsed;
}

let kept: Emitter | undefined;

/** Keeps the emitter from being collected before it was measured. */
function keep(emitter: Emitter): void {
  kept = emitter;
  void kept;
}
