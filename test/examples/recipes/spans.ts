// @kernia/events 1.0.0: copied from its test/examples/recipes/spans.ts
// Needs no Better Auth.

import { EventBus, type Logger } from "@kernia/events";
import { trace } from "@opentelemetry/api";

/**
 * Records an OpenTelemetry span for each emit, from the start of its first handler to the end of its
 * last. It is the parent of the handlers' spans, and a child of the request's span. A handler's error is
 * in the log and not in the span, because the emit did not fail. Those of the tracer go to `logger`, or
 * else to the global `console`.
 *
 * @returns a function that undoes it, whatever else has replaced `bus.emit` since then.
 */
export function traceEvents(bus: EventBus, logger?: Logger): () => void {
  const tracer = trace.getTracer("@kernia/events");
  const { emit } = bus;
  let isUndone = false;
  const emitInSpan: EventBus["emit"] = (event, payload) => {
    let emitted: Promise<void> | undefined;
    const emitOnce = () => (emitted ??= emit.call(bus, event, payload));
    const inSpan = () =>
      tracer.startActiveSpan(`event ${event}`, (span) => emitOnce().then(() => span.end()));
    // As the handler of a bus of its own, the tracer stops nothing when it fails.
    const observer = new EventBus(logger);
    if (!isUndone) observer.on(event, inSpan);
    void observer.emit(event, payload);
    return emitOnce();
  };
  bus.emit = emitInSpan;
  return () => {
    isUndone = true;
    if (bus.emit === emitInSpan) bus.emit = emit;
  };
}
