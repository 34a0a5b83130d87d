// Needs no Better Auth.

import type { EventHandler } from "@kernia/events";

/**
 * Bounds how long an emit waits for a handler, so that a service that hangs cannot hang a request. When
 * the time is up, the next handler runs, and a `TimeoutError` is logged.
 *
 * @param milliseconds - how long the handler may take.
 * @param handler - also gets a signal, to pass on to whatever it waits for.
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
