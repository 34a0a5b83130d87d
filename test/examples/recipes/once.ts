// @kernia/events 1.0.0: copied from its test/examples/recipes/once.ts
// Needs no Better Auth.

import type { EventBus, EventHandler, EventName, EventPayload } from "@kernia/events";

/**
 * Subscribes a handler to the next emit of the event only.
 *
 * @returns a function that unsubscribes it before that emit. `bus.off` with the handler does not, because
 * another function is registered.
 */
export function once<Name extends EventName>(
  bus: EventBus,
  event: Name,
  handler: EventHandler<EventPayload<Name>>,
): () => void {
  const unsubscribe = bus.on(event, (payload: EventPayload<Name>) => {
    unsubscribe();
    return handler(payload);
  });
  return unsubscribe;
}
