import { contenders } from "./contenders";
import { makeHandlers } from "./handlers";
import { lowerQuartile } from "./quantiles";
import type { Figure, Table } from "./report";

const mostRounds = 25;
/** In milliseconds: whoever has taken this long is not asked again, for some take seconds a round. */
const budget = 300;
const event = "organization.member.added";

/**
 * Subscribes so many handlers and unsubscribes them in the same order; the time per handler.
 *
 * Nothing is collected by force in between: V8 then hands the memory back to the system, and each round
 * would measure how fast a shared machine gives it out again.
 */
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
    value: lowerQuartile(times),
  }));
  return {
    title: `subscribe and unsubscribe ${count.toLocaleString("en")} handlers, per handler`,
    unit: "ns",
    figures,
  };
}
