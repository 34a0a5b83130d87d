import { EventBus } from "@kernia/events";
import { expect, test } from "vitest";

test("on subscribes the handler to the event, and to no other", async () => {
  const bus = new EventBus();
  const seen: unknown[] = [];
  bus.on("a", (payload) => seen.push(payload));

  await bus.emit("a", 1);
  await bus.emit("b", 2);

  expect(seen).toEqual([1]);
});

test("a handler registered twice runs twice; what on returns removes exactly its own registration", async () => {
  const bus = new EventBus();
  const seen: string[] = [];
  const twice = () => seen.push("twice");
  bus.on("a", twice);
  bus.on("a", () => seen.push("between"));
  const unsubscribeSecond = bus.on("a", twice);

  await bus.emit("a", undefined);
  expect(unsubscribeSecond()).toBeUndefined();
  await bus.emit("a", undefined);

  expect(seen).toEqual(["twice", "between", "twice", "twice", "between"]);
});

test("what on returns does nothing once the registration is removed, by itself or by off", async () => {
  const bus = new EventBus();
  let calls = 0;
  const handler = () => calls++;
  const unsubscribeFirst = bus.on("a", handler);
  const unsubscribeSecond = bus.on("a", handler);
  bus.on("a", handler);
  bus.off("a", handler);
  unsubscribeSecond();

  unsubscribeFirst();
  unsubscribeSecond();
  await bus.emit("a", undefined);

  expect(calls).toBe(1);
});

test("off removes the earliest registration of the handler for the event, if there is one", async () => {
  const bus = new EventBus();
  const seen: string[] = [];
  const twice = () => seen.push("twice");
  bus.on("b", twice);
  bus.on("a", twice);
  bus.on("a", () => seen.push("between"));
  bus.on("a", twice);

  expect(bus.off("a", twice)).toBeUndefined();
  bus.off("a", () => {});
  bus.off("nobody is subscribed", twice);
  await bus.emit("a", undefined);
  await bus.emit("b", undefined);

  expect(seen).toEqual(["between", "twice", "twice"]);
});

// With time that grows with the number of handlers, this takes minutes.
test("100,000 handlers are subscribed, called, and unsubscribed from either end", async () => {
  const count = 100_000;
  const bus = new EventBus();
  let calls = 0;
  const subscribeAll = () => Array.from({ length: count }, () => bus.on("a", () => calls++));

  for (const unsubscribe of subscribeAll()) unsubscribe();
  const unsubscribes = subscribeAll();
  await bus.emit("a", undefined);
  for (const unsubscribe of unsubscribes.reverse()) unsubscribe();
  await bus.emit("a", undefined);

  expect(calls).toBe(count);
});

test.each(["", "__proto__", "hasOwnProperty", "a b\n☃"])(
  "an event may be called %j",
  async (event) => {
    const bus = new EventBus();
    const seen: unknown[] = [];
    await bus.emit(event, "nobody is subscribed");
    const unsubscribe = bus.on(event, (payload) => seen.push(payload));
    await bus.emit(event, "received");
    unsubscribe();
    await bus.emit(event, "nobody is subscribed");

    expect(seen).toEqual(["received"]);
  },
);
