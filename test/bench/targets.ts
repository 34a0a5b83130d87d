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
import type { Figure, Table, Target } from "./report";

export interface Results {
  readonly emit: Record<string, Table>;
  readonly subscribe: Record<string, Table>;
  /** Of the time per handler, from 1,000 to 30,000. */
  readonly growth: number;
  readonly memory: Record<"registration" | "name", Table>;
  readonly size: Table;
}

/** What the library must reach within one run. */
export function targetsOf({ emit, subscribe, growth, memory, size }: Results): Target[] {
  const emitting = (work: string, contender: Contender, atMost: number): Target => ({
    work: `${work} handlers : ${contender.name}`,
    atMost,
    ratio: 1 / figureOf(emit[work]!, contender).multiple,
  });
  const bytes = (what: string, table: Table, most: number): Target => ({
    work: `${what} : ${most} bytes`,
    atMost: 1,
    ratio: figureOf(table, library).value / most,
  });
  const bestPeer = Math.min(
    ...subscribe["30000"]!.figures.filter(({ name }) => name !== library.name).map(
      ({ multiple }) => multiple,
    ),
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
      ratio: 1 / bestPeer,
    },
    {
      work: "time per handler, 30,000 : 1,000 handlers",
      atMost: 4,
      ratio: growth,
    },
    bytes("memory per registration", memory.registration, 48),
    bytes("memory per event name with one handler", memory.name, 260),
    bytes("size", size, 640),
  ];
}

function figureOf({ figures }: Table, { name }: Contender): Figure {
  return figures.find((figure) => figure.name === name)!;
}
