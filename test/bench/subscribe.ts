import { contenders } from "./contenders";
import { makeHandlers } from "./handlers";
import { median } from "./median";
import type { Figure, Table } from "./report";

const mostRounds = 25;
/** In milliseconds: whoever has taken this long is not asked again, for some take seconds a round. */
const budget = 300;
const event = "organization.member.added";

/** Subscribes so many handlers and unsubscribes them in the same order; the time per handler. */
export function measureSubscribe(count: number): Table {
  const handlers = makeHandlers("sync", count);
  const entries = contenders
    .filter(({ unsubscribes }) => unsubscribes)
    .map((contender) => ({ contender, times: [] as number[], spent: 0 }));

  for (let round = 0; round < mostRounds; round++) {
    for (let turn = 0; turn < entries.length; turn++) {
      const entry = entries[(turn + round) % entries.length]!;
      if (entry.spent > budget) continue;
      const emitter = entry.contender.create();
      // Or it would pay for what the contender before it left behind.
      globalThis.gc!();
      const start = performance.now();
      const unsubscribes = handlers.map((handler) => emitter.on(event, handler));
      for (const unsubscribe of unsubscribes) unsubscribe?.();
      const time = performance.now() - start;
      entry.spent += time;
      entry.times.push((time * 1e6) / count);
    }
  }

  const figures = entries.map(({ contender, times }): Figure => ({
    name: contender.name,
    value: median(times),
  }));
  return {
    title: `subscribe and unsubscribe ${count.toLocaleString("en")} handlers, per handler`,
    unit: "ns",
    figures,
  };
}
