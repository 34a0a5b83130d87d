// @kernia/events 1.0.0: copied from its test/examples/recipes/under-way.ts
// Needs no Better Auth.

import type { EventBus, EventName, EventPayload } from "@kernia/events";

/**
 * Returns a function that waits until no emit of this bus is under way, including emits that begin while
 * it waits. Use it to shut down, and to test code that emits without awaiting. With a handler that never
 * settles it waits for ever: give that handler a time limit.
 */
export function trackEmits(bus: EventBus): () => Promise<void> {
  const underWay = new Set<Promise<void>>();
  const { emit } = bus;
  bus.emit = <Name extends EventName>(event: Name, payload: EventPayload<Name>) => {
    const emitted = emit.call(bus, event, payload);
    underWay.add(emitted);
    void emitted.then(() => underWay.delete(emitted));
    return emitted;
  };
  return async () => {
    while (underWay.size > 0) await Promise.all(underWay);
  };
}
