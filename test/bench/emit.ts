import { contenders, library, type Contender } from "./contenders";
import { makeHandlers, payload } from "./handlers";
import type { Table } from "./report";
import { takeTurns, type Entry } from "./rounds";

/** In handlers called: a contender looks at the clock after these. */
const handlersAtATime = 10_000;
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
  const figures = await takeTurns(entries);
  return { title: `emit, ${count} ${kind} handler${count === 1 ? "" : "s"}`, unit: "ns", figures };
}

function prepare(contender: Contender, kind: "sync" | "async", count: number): Entry {
  const emitter = contender.create();
  for (const event of events) {
    for (const handler of makeHandlers(kind, count)) emitter.on(event, handler);
  }
  const awaited = kind === "async" || !contender.doneOnReturn;
  const emits = Math.ceil(handlersAtATime / (count + 1));
  let turn = 0;
  const emit = () => emitter.emit(events[turn++ % events.length]!, payload);
  return {
    contender,
    pieces: emits,
    async work() {
      if (awaited) for (let done = 0; done < emits; done++) await emit();
      else for (let done = 0; done < emits; done++) emit();
    },
  };
}
