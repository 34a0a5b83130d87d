import {
  emittery,
  eventEmitter3,
  hookable,
  library,
  loop,
  mittEmitter,
  nanoevents,
  tapableSeries,
  type Contender,
} from "./contenders";
import type { Table, Target } from "./report";

export interface Results {
  readonly emit: Record<string, Table>;
  readonly subscribe: Record<string, Table>;
  readonly memory: Record<"registration" | "name", Table>;
  readonly size: Table;
}

/** What the library must reach within one run. */
export function targetsOf({ emit, subscribe, memory, size }: Results): Target[] {
  const emitting = (work: string, contender: Contender, atMost: number): Target => ({
    work: `${work} handlers : ${contender.name}`,
    atMost,
    ratio: valueOf(emit[work]!, library) / valueOf(emit[work]!, contender),
  });
  const bytes = (what: string, table: Table, most: number): Target => ({
    work: `${what} : ${most} bytes`,
    atMost: 1,
    ratio: valueOf(table, library) / most,
  });
  const most = subscribe["30000"]!;
  const bestPeer = Math.min(
    ...most.figures.filter(({ name }) => name !== library.name).map(({ value }) => value),
  );

  return [
    emitting("1 async", loop, 1),
    emitting("10 async", loop, 1),
    emitting("100 async", loop, 1),
    emitting("1 sync", nanoevents, 1.4),
    emitting("10 sync", nanoevents, 1.25),
    emitting("10 sync", mittEmitter, 1),
    emitting("10 sync", eventEmitter3, 1),
    emitting("10 sync", loop, 0.3),
    emitting("10 async", emittery, 0.55),
    emitting("10 async", hookable, 0.35),
    emitting("10 async", tapableSeries, 0.8),
    emitting("0 sync", mittEmitter, 1),
    {
      work: "subscribe and unsubscribe 30,000 : the best peer",
      atMost: 0.15,
      ratio: valueOf(most, library) / bestPeer,
    },
    {
      work: "time per handler, 30,000 : 1,000 handlers",
      atMost: 4,
      ratio: valueOf(most, library) / valueOf(subscribe["1000"]!, library),
    },
    bytes("memory per registration", memory.registration, 48),
    bytes("memory per event name with one handler", memory.name, 260),
    bytes("size", size, 640),
  ];
}

function valueOf({ figures }: Table, { name }: Contender): number {
  return figures.find((figure) => figure.name === name)?.value ?? Number.NaN;
}
