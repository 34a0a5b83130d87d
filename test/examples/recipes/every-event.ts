// @kernia/events 1.0.0: copied from its test/examples/recipes/every-event.ts
// Needs no Better Auth.

import { EventBus, type Logger } from "@kernia/events";

/**
 * Calls `see` with each event that is emitted from now on, before the handlers of the event run. It also
 * works on a bus that is in use already. Nothing waits for `see`, and its errors go to `logger`, or else
 * to the global `console`, as those of a handler.
 *
 * @returns a function that undoes it, whatever else has replaced `bus.emit` since then.
 */
export function onEveryEvent(
  bus: EventBus,
  see: (event: string, payload: unknown) => unknown,
  logger?: Logger,
): () => void {
  const { emit } = bus;
  let isUndone = false;
  const seeAndEmit: EventBus["emit"] = (event, payload) => {
    // As the handler of a bus of its own, it stops nothing when it fails.
    const observer = new EventBus(logger);
    if (!isUndone) observer.on(event, () => see(event, payload));
    void observer.emit(event, payload);
    return emit.call(bus, event, payload);
  };
  bus.emit = seeAndEmit;
  return () => {
    isUndone = true;
    if (bus.emit === seeAndEmit) bus.emit = emit;
  };
}
