// Needs no Better Auth.

import type { EventBus, EventName, EventPayload } from "@kernia/events";

/**
 * Calls `see` with every event that is emitted from now on, before its handlers are. Works on a bus
 * that others use already; what `see` throws reaches whoever emits.
 */
export function onEveryEvent(bus: EventBus, see: (event: string, payload: unknown) => void): void {
  const { emit } = bus;
  bus.emit = <Name extends EventName>(event: Name, payload: EventPayload<Name>) => {
    see(event, payload);
    return emit.call(bus, event, payload);
  };
}
