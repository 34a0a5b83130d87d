// Needs no Better Auth.

import type { EventBus, EventHandler, EventName, EventPayload } from "@kernia/events";

/** Subscribes a handler until the signal is aborted; not at all if it already is. */
export function onUntilAborted<Name extends EventName>(
  bus: EventBus,
  event: Name,
  handler: EventHandler<EventPayload<Name>>,
  signal: AbortSignal,
): void {
  // An aborted signal tells nobody again.
  if (signal.aborted) return;
  const unsubscribe = bus.on(event, handler);
  signal.addEventListener("abort", unsubscribe, { once: true });
}
