// @kernia/events 1.0.0: copied from its test/examples/recipes/every-event.ts
// Needs no Better Auth.

import type { EventBus, EventName, EventPayload } from "@kernia/events";

/**
 * Calls `see` with each event that is emitted from now on, before the handlers of the event run. It also
 * works on a bus that is in use already. An error of `see` is thrown by `emit`.
 */
export function onEveryEvent(bus: EventBus, see: (event: string, payload: unknown) => void): void {
  const { emit } = bus;
  bus.emit = <Name extends EventName>(event: Name, payload: EventPayload<Name>) => {
    see(event, payload);
    return emit.call(bus, event, payload);
  };
}
