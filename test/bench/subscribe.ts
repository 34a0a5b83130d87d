import { contenders, library, type Contender } from "./contenders";
import { makeHandlers } from "./handlers";
import type { Table } from "./report";
import { takeTurns, type Entry } from "./rounds";

const event = "organization.member.added";

/**
 * Subscribes so many handlers and unsubscribes them in the same order; the time per handler.
 *
 * Nothing is collected by force in between: V8 then hands the memory back to the system, and each round
 * would measure how fast a shared machine gives it out again. `npm run bench` gives V8's young generation
 * 64 MiB, or whether a collection falls into a turn would decide.
 */
export async function measureSubscribe(count: number): Promise<Table> {
  const entries = contenders
    .filter(({ unsubscribes }) => unsubscribes)
    .map((contender) => prepare(contender, count));
  return {
    title: `subscribe and unsubscribe ${count.toLocaleString("en")} handlers, per handler`,
    unit: "ns",
    figures: await takeTurns(entries),
  };
}

/** How many times as long a handler takes among `most` as among `few`: about once, in constant time. */
export async function measureGrowth(few: number, most: number): Promise<number> {
  const [, grown] = await takeTurns([prepare(library, few), prepare(library, most)]);
  return grown!.multiple;
}

function prepare(contender: Contender, count: number): Entry {
  const handlers = makeHandlers("sync", count);
  return {
    contender,
    pieces: count,
    work() {
      const emitter = contender.create();
      const unsubscribes = handlers.map((handler) => emitter.on(event, handler));
      for (const unsubscribe of unsubscribes) unsubscribe?.();
    },
  };
}
