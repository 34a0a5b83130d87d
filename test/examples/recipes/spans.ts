// Needs no Better Auth.

import type { EventBus, EventName, EventPayload } from "@kernia/events";
import { trace } from "@opentelemetry/api";

/**
 * Makes an OpenTelemetry span of each emit, from its first handler to the end of its last. It is the
 * parent of the spans that the handlers make, and a child of the request's. Failures of handlers are
 * in the log; the emit of the event did not fail.
 */
export function traceEvents(bus: EventBus): void {
  const tracer = trace.getTracer("@kernia/events");
  const { emit } = bus;
  bus.emit = <Name extends EventName>(event: Name, payload: EventPayload<Name>) =>
    tracer.startActiveSpan(`event ${event}`, async (span) => {
      try {
        await emit.call(bus, event, payload);
      } finally {
        span.end();
      }
    });
}
