// @kernia/events 1.0.0: copied from its test/examples/recipes/abort-signal.ts
// Needs no Better Auth.

import type { EventBus, EventHandler, EventName, EventPayload } from "@kernia/events";

/** Subscribes a handler until the signal is aborted; if it is aborted already, not at all. */
export function onUntilAborted<Name extends EventName>(
  bus: EventBus,
  event: Name,
  handler: EventHandler<EventPayload<Name>>,
  signal: AbortSignal,
): void {
  // A signal that is aborted already fires no event.
  if (signal.aborted) return;
  const unsubscribe = bus.on(event, handler);
  signal.addEventListener("abort", unsubscribe, { once: true });
}
