import { contenders, library, type Contender } from "./contenders";
import { makeHandlers, payload } from "./handlers";
import { median } from "./quantiles";
import type { Figure, Table } from "./report";

const rounds = 41;
/** In handlers called: what a contender does before it is the next one's turn. */
const workPerTurn = 100_000;
const awaitedWorkPerTurn = 20_000;
/** A bus carries several events; with one alone, a compiler turns the look-up of its name into none. */
const events = [
  "organization.member.added",
  "organization.member.removed",
  "organization.member.updated",
  "user.deleted",
];

/**
 * One emit with so many handlers, until all of them are done, of each of the events in turn. The
 * contenders take turns, each going on where it left off: benchmark libraries run one after another,
 * or compile each turn anew.
 */
export async function measureEmit(kind: "sync" | "async", count: number): Promise<Table> {
  const entries = contenders
    .filter(({ handles }) => handles.includes(kind))
    .map((contender) => prepare(contender, kind, count));
  if (kind === "sync") {
    const awaited = { ...library, name: `${library.name}, awaited`, doneOnReturn: false };
    entries.splice(1, 0, prepare(awaited, kind, count));
  }

  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < entries.length; turn++) {
      const { emit, awaited, times } = entries[(turn + round) % entries.length]!;
      const emits = Math.ceil((awaited ? awaitedWorkPerTurn : workPerTurn) / (count + 1));
      const start = performance.now();
      if (awaited) for (let done = 0; done < emits; done++) await emit();
      else for (let done = 0; done < emits; done++) emit();
      times.push(((performance.now() - start) * 1e6) / emits);
    }
  }

  const figures = entries.map(({ contender: { name, lacks }, times }): Figure => {
    return { name, ...(lacks && { lacks }), value: median(times) };
  });
  return { title: `emit, ${count} ${kind} handler${count === 1 ? "" : "s"}`, unit: "ns", figures };
}

function prepare(contender: Contender, kind: "sync" | "async", count: number) {
  const emitter = contender.create();
  for (const event of events) {
    for (const handler of makeHandlers(kind, count)) emitter.on(event, handler);
  }
  const awaited = kind === "async" || !contender.doneOnReturn;
  let turn = 0;
  const emit = () => emitter.emit(events[turn++ % events.length]!, payload);
  return { contender, emit, awaited, times: [] as number[] };
}
