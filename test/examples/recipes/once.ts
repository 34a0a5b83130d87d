// Needs no Better Auth.

import type { EventBus, EventHandler, EventName, EventPayload } from "@kernia/events";

/**
 * Subscribes a handler to the next emit of the event, and to no other.
 *
 * @returns a function that unsubscribes it before that. `bus.off` with the handler does not, for the
 * bus knows another function.
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
