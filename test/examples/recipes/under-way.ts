// @kernia/events 1.0.0: copied from its test/examples/recipes/under-way.ts
// Needs no Better Auth.

import type { EventBus } from "@kernia/events";

/**
 * Tracks the emits of this bus from now on. Use it to shut down, and to test code that emits without
 * awaiting.
 *
 * @returns a function that waits until none is under way, including emits that begin while it waits, and
 * then stops tracking. With a handler that never settles it waits for ever: give that handler a time limit.
 */
export function trackEmits(bus: EventBus): () => Promise<void> {
  const underWay = new Set<Promise<void>>();
  const { emit } = bus;
  const emitTracked: EventBus["emit"] = (event, payload) => {
    const emitted = emit.call(bus, event, payload);
    underWay.add(emitted);
    void emitted.then(() => underWay.delete(emitted));
    return emitted;
  };
  bus.emit = emitTracked;
  return async () => {
    while (underWay.size > 0) await Promise.all(underWay);
    // What has replaced `bus.emit` since then stays, and calls this one.
    if (bus.emit === emitTracked) bus.emit = emit;
  };
}
