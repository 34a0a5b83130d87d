import { EventBus, type EventHandler } from "@kernia/events";

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

const bus = new EventBus();
bus.on(
  "user.deleted",
  withTimeLimit(5_000, async ({ userId }, signal) => {
    await fetch(`https://crm.example.com/people/${userId}`, { method: "DELETE", signal });
  }),
);
