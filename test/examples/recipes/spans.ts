// @kernia/events 1.0.0: copied from its test/examples/recipes/spans.ts
// Needs no Better Auth.

import type { EventBus, EventName, EventPayload } from "@kernia/events";
import { trace } from "@opentelemetry/api";

/**
 * Records an OpenTelemetry span for each emit, from the start of its first handler to the end of its
 * last. It is the parent of the handlers' spans, and a child of the request's span. A handler's error is
 * in the log and not in the span, because the emit did not fail.
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
