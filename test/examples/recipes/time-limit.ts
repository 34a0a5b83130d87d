// @kernia/events 1.0.0: copied from its test/examples/recipes/time-limit.ts
// Needs no Better Auth.

import type { EventHandler } from "@kernia/events";

/**
 * Limits how long an emit waits for a handler, so that a service without an answer cannot hold up a
 * request. After that time the next handler runs, and a `TimeoutError` is logged.
 *
 * @param milliseconds - how long the handler may take.
 * @param handler - also gets a signal that is aborted after that time, to pass on to `fetch`, say.
 *
 * @example
 * ```ts
 * const forget = async ({ userId }: UserEvent, signal: AbortSignal) => {
 *   await fetch(`https://crm.example.com/people/${userId}`, { method: "DELETE", signal });
 * };
 * bus.on("user.deleted", withTimeLimit(5_000, forget));
 * ```
 */
export function withTimeLimit<Payload>(
  milliseconds: number,
  handler: (payload: Payload, signal: AbortSignal) => unknown,
): EventHandler<Payload> {
  return (payload) => {
    const signal = AbortSignal.timeout(milliseconds);
    const result = handler(payload, signal);
    const timeUp = new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
    return Promise.race([result, timeUp]);
  };
}
