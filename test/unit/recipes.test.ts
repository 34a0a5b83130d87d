import { EventBus, getBus, type EventName, type EventPayload } from "@kernia/events";
import { expect, test } from "vitest";

const deleted = { userId: "u_1", action: "deleted" } as const;

test("once", async () => {
  const bus = new EventBus();
  const seen: string[] = [];
  const unsubscribe = bus.on("user.deleted", ({ userId }) => {
    unsubscribe();
    seen.push(userId);
  });

  await bus.emit("user.deleted", deleted);
  await bus.emit("user.deleted", deleted);

  expect(seen).toEqual(["u_1"]);
});

test("unsubscribing with an AbortSignal", async () => {
  const bus = new EventBus();
  const controller = new AbortController();
  const seen: string[] = [];
  const unsubscribe = bus.on("user.deleted", ({ userId }) => seen.push(userId));
  controller.signal.addEventListener("abort", unsubscribe, { once: true });

  await bus.emit("user.deleted", deleted);
  controller.abort();
  await bus.emit("user.deleted", deleted);

  expect(seen).toEqual(["u_1"]);
});

test("seeing every event", async () => {
  const seen: string[] = [];
  class TracingBus extends EventBus {
    override emit<Name extends EventName>(event: Name, payload: EventPayload<Name>): Promise<void> {
      seen.push(event);
      return super.emit(event, payload);
    }
  }
  const auth = { pluginState: { events: new TracingBus() } };

  await getBus(auth).emit("user.deleted", deleted);
  await getBus(auth).emit("my.own", undefined);

  expect(seen).toEqual(["user.deleted", "my.own"]);
});
