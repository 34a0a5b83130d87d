import { contenders, type Contender, type Emitter } from "./contenders";
import { makeHandlers } from "./handlers";
import { median } from "./median";
import type { Table } from "./report";

const count = 20_000;

/** Bytes of heap for each registration on one event. */
export function measureRegistrations(): Table {
  return measure("memory per registration, on one event", () => "organization.member.added");
}

/** Bytes of heap for each event name that has one handler, without the name itself. */
export function measureNames(): Table {
  const names = Array.from({ length: count }, (_, index) => `plugin.event.${index}`);
  return measure("memory per event name with one handler", (index) => names[index]!);
}

function measure(title: string, eventOf: (index: number) => string): Table {
  const handlers = makeHandlers("sync", count);
  // A loop over a list of handlers is no contender for memory; it holds nothing else.
  const measured = contenders.filter(({ unsubscribes }) => unsubscribes);
  const figures = measured.map((contender) => ({
    name: contender.name,
    value: median([1, 2, 3].map(() => bytesPerHandler(contender))),
  }));
  return { title, unit: "bytes", figures };

  function bytesPerHandler(contender: Contender): number {
    const emitter = contender.create();
    const before = heapUsed();
    handlers.forEach((handler, index) => void emitter.on(eventOf(index), handler));
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
