import { EventBus, getBus } from "@kernia/events";
import { describe, expect, test } from "vitest";

const failure = new Error("fails");
const fail = (): never => {
  throw failure;
};

describe.each<[string, unknown, () => unknown]>([
  ["throws", failure, fail],
  ["rejects", failure, () => Promise.reject(failure)],
  ["rejects with undefined", undefined, () => Promise.reject()],
  ["returns a thenable that throws", failure, () => ({ then: fail })],
  [
    "returns something whose then getter throws",
    failure,
    () => Object.defineProperty({}, "then", { get: fail }),
  ],
])("a handler that %s", (_, error, fail) => {
  test("is logged once, as message, event and error, without the payload", async () => {
    const logged: unknown[][] = [];
    const bus = new EventBus({ error: (...args) => logged.push(args) });
    bus.on("100 %s", fail);

    await bus.emit("100 %s", { email: "ada@example.com" });

    expect(logged).toEqual([["Event handler failed:", "100 %s", error]]);
    expect(logged[0]?.[2]).toBe(error);
  });

  test("stops no handler that follows, and is logged after those that are not awaited, before the emit is done", async () => {
    const seen: string[] = [];
    const bus = new EventBus({ error: () => seen.push("logged") });
    bus.on("a", fail);
    bus.on("a", () => seen.push("sync"));
    bus.on("a", async () => seen.push("async"));
    bus.on("a", fail);
    bus.on("a", () => seen.push("last"));

    await bus.emit("a", undefined);
    seen.push("emitted");

    expect(seen).toEqual(["sync", "async", "logged", "last", "logged", "emitted"]);
  });
});

test.each([
  ["a bus that was given no logger", () => new EventBus()],
  ["the bus of a context that has none", () => getBus({})],
])("%s logs to the global console", async (_, create) => {
  const logged: unknown[][] = [];
  const original = console.error;
  console.error = (...args: unknown[]) => void logged.push(args);
  try {
    const bus = create();
    bus.on("a", fail);
    await bus.emit("a", undefined);
  } finally {
    console.error = original;
  }

  expect(logged).toEqual([["Event handler failed:", "a", failure]]);
});

// The test runner fails the run on an unhandled rejection.
test.each<[string, () => unknown]>([
  ["throws", fail],
  ["rejects", () => Promise.reject(failure)],
  ["never settles", () => new Promise(() => {})],
])("a logger that %s stops nothing", async (_, error) => {
  const bus = new EventBus({ error });
  const seen: string[] = [];
  bus.on("a", fail);
  bus.on("a", () => Promise.reject(failure));
  bus.on("a", () => seen.push("next handler"));

  await bus.emit("a", undefined);

  expect(seen).toEqual(["next handler"]);
});

test("handlers that emit each other's events for ever are logged", async () => {
  const logged: unknown[] = [];
  const bus = new EventBus({ error: (_message, _event, error) => logged.push(error) });
  bus.on("a", () => bus.emit("b", undefined));
  bus.on("b", () => bus.emit("a", undefined));

  await bus.emit("a", undefined);

  expect(logged[0]).toBeInstanceOf(RangeError);
  expect(logged.length).toBeLessThan(1_000);
});

describe("a caller's mistake throws a TypeError", () => {
  const bus = new EventBus();
  const wrong = (value: unknown) => value as never;

  test.each<[string, () => unknown]>([
    ["event must be of type string, got undefined", () => bus.on(wrong(undefined), () => {})],
    ["event must be of type string, got null", () => bus.off(wrong(null), () => {})],
    [
      "event must be of type string, got symbol",
      () => bus.emit(wrong(Symbol("a")), wrong(undefined)),
    ],
    ["handler must be of type function, got object", () => bus.on("a", wrong({}))],
    ["handler must be of type function, got undefined", () => bus.off("a", wrong(undefined))],
    ["logger.error must be of type function, got undefined", () => new EventBus(wrong(null))],
    ["logger.error must be of type function, got undefined", () => new EventBus(wrong({}))],
  ])("%s", (message, call) => {
    expect(call).toThrow(new TypeError(message));
  });

  test("when a method is not called on the bus itself", () => {
    const { on, off, emit } = bus;
    const proxy = new Proxy(bus, {});

    expect(() => on("a", () => {})).toThrow(TypeError);
    expect(() => off("a", () => {})).toThrow(TypeError);
    expect(() => emit("a", undefined)).toThrow(TypeError);
    expect(() => proxy.emit("a", undefined)).toThrow(TypeError);
  });
});
