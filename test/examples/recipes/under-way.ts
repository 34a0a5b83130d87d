// Needs no Better Auth.

import type { EventBus, EventName, EventPayload } from "@kernia/events";

/**
 * Returns a function that waits until no emit of this bus is under way, those included that begin
 * while it waits: for tests of code that emits without awaiting, and for shutting down. A handler that
 * never settles makes it wait for ever; give it a time limit.
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
