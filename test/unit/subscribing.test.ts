import { EventBus } from "@kernia/events";
import { describe, expect, test } from "vitest";

describe("on", () => {
  test("subscribes the handler to the event, and to no other", async () => {
    const bus = new EventBus();
    const seen: unknown[] = [];
    bus.on("a", (payload) => seen.push(payload));

    await bus.emit("a", 1);
    await bus.emit("b", 2);

    expect(seen).toEqual([1]);
  });

  test("runs a handler twice that is registered twice", async () => {
    const bus = new EventBus();
    let calls = 0;
    const handler = () => calls++;
    bus.on("a", handler);
    bus.on("a", handler);

    await bus.emit("a", undefined);

    expect(calls).toBe(2);
  });

  test.each([undefined, null, "handler", {}, 1])("throws for the handler %j", async (handler) => {
    const bus = new EventBus();

    expect(() => bus.on("a", handler as never)).toThrow(TypeError);
    expect(() => bus.on("a", handler as never)).toThrow(
      `handler must be of type function, got ${handler === null ? "null" : typeof handler}`,
    );
    await bus.emit("a", undefined);
  });

  test("throws for an event that is not a string", () => {
    const bus = new EventBus();

    expect(() => bus.on(undefined as never, () => {})).toThrow(TypeError);
    expect(() => bus.on(undefined as never, () => {})).toThrow(
      "event must be of type string, got undefined",
    );
  });
});

describe("the function that on returns", () => {
  test("removes the registration", async () => {
    const bus = new EventBus();
    let calls = 0;
    const unsubscribe = bus.on("a", () => calls++);

    expect(unsubscribe()).toBeUndefined();
    await bus.emit("a", undefined);

    expect(calls).toBe(0);
  });

  test("removes exactly its own registration of a handler registered twice", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    const twice = () => seen.push("twice");
    bus.on("a", twice);
    bus.on("a", () => seen.push("between"));
    const unsubscribeSecond = bus.on("a", twice);

    unsubscribeSecond();
    await bus.emit("a", undefined);

    expect(seen).toEqual(["twice", "between"]);
  });

  test("removes it once, however often it is called", async () => {
    const bus = new EventBus();
    let calls = 0;
    const handler = () => calls++;
    const unsubscribe = bus.on("a", handler);
    unsubscribe();
    bus.on("a", handler);

    unsubscribe();
    unsubscribe();
    await bus.emit("a", undefined);

    expect(calls).toBe(1);
  });

  test("does nothing after off removed the registration", async () => {
    const bus = new EventBus();
    let calls = 0;
    const handler = () => calls++;
    const unsubscribe = bus.on("a", handler);
    bus.on("a", handler);
    bus.off("a", handler);

    unsubscribe();
    await bus.emit("a", undefined);

    expect(calls).toBe(1);
  });
});

describe("off", () => {
  test("removes the earliest registration of the handler", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    const twice = () => seen.push("twice");
    bus.on("a", twice);
    bus.on("a", () => seen.push("between"));
    bus.on("a", twice);

    expect(bus.off("a", twice)).toBeUndefined();
    await bus.emit("a", undefined);

    expect(seen).toEqual(["between", "twice"]);
  });

  test("leaves the handler's registrations for other events", async () => {
    const bus = new EventBus();
    const seen: unknown[] = [];
    const handler = (payload: unknown) => seen.push(payload);
    bus.on("a", handler);
    bus.on("b", handler);

    bus.off("a", handler);
    await bus.emit("a", 1);
    await bus.emit("b", 2);

    expect(seen).toEqual([2]);
  });

  test("does nothing for an unknown handler", async () => {
    const bus = new EventBus();
    let calls = 0;
    bus.on("a", () => calls++);

    bus.off("a", () => {});
    await bus.emit("a", undefined);

    expect(calls).toBe(1);
  });

  test("does nothing for an unknown event", () => {
    expect(() => new EventBus().off("unknown", () => {})).not.toThrow();
  });

  test("throws for something that is not a handler", () => {
    expect(() => new EventBus().off("a", undefined as never)).toThrow(
      new TypeError("handler must be of type function, got undefined"),
    );
  });

  test("throws for an event that is not a string", () => {
    expect(() => new EventBus().off(null as never, () => {})).toThrow(
      new TypeError("event must be of type string, got null"),
    );
  });
});
