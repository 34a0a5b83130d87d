import { EventBus, getBus } from "@kernia/events";
import { describe, expect, test } from "vitest";
import { CollectingLogger } from "./collecting-logger";

const failure = new Error("fails");
const fail = (): never => {
  throw failure;
};

type Settle = (value: unknown) => void;

const failingHandlers: [string, unknown, () => unknown][] = [
  ["throws", failure, fail],
  ["rejects", failure, () => Promise.reject(failure)],
  ["rejects with undefined", undefined, () => Promise.reject()],
  ["rejects later", failure, () => Promise.resolve().then(fail)],
  ["returns a thenable that throws", failure, () => ({ then: fail })],
  [
    "returns a thenable that rejects, resolves, and throws",
    failure,
    () => ({
      then(resolve: Settle, reject: Settle) {
        reject(failure);
        resolve(undefined);
        throw new Error("not this one");
      },
    }),
  ],
  [
    "returns something whose then getter throws",
    failure,
    () => Object.defineProperty({}, "then", { get: fail }),
  ],
  [
    "returns a promise whose constructor getter throws",
    failure,
    () => Object.defineProperty(Promise.resolve(), "constructor", { get: fail }),
  ],
];

describe.each(failingHandlers)("a handler that %s", (_, error, fail) => {
  test("is logged once, with the thrown value itself", async () => {
    const logger = new CollectingLogger();
    const bus = new EventBus(logger);
    bus.on("a", fail);

    await bus.emit("a", undefined);

    expect(logger.logged).toEqual([["Event handler failed:", "a", error]]);
    expect(logger.logged[0]?.[2]).toBe(error);
  });

  test("keeps neither the next handlers nor the emit from going on", async () => {
    const logger = new CollectingLogger();
    const bus = new EventBus(logger);
    const seen: string[] = [];
    bus.on("a", fail);
    bus.on("a", () => seen.push("sync"));
    bus.on("a", fail);
    bus.on("a", async () => seen.push("async"));
    bus.on("a", fail);
    bus.on("a", () => seen.push("last"));

    await bus.emit("a", undefined);

    expect(seen).toEqual(["sync", "async", "last"]);
    expect(logger.logged).toHaveLength(3);
  });

  test("is logged after the handlers that follow without being awaited, before the emit is done", async () => {
    const seen: string[] = [];
    const bus = new EventBus({ error: () => seen.push("logged") });
    bus.on("a", () => seen.push("before"));
    bus.on("a", fail);
    bus.on("a", () => seen.push("after"));

    await bus.emit("a", undefined);
    seen.push("emitted");

    expect(seen).toEqual(["before", "after", "logged", "emitted"]);
  });

  test("is logged before a handler that is awaited is done, and before those after it", async () => {
    const seen: string[] = [];
    const bus = new EventBus({ error: () => seen.push("logged") });
    bus.on("a", fail);
    bus.on("a", async () => {
      seen.push("starts");
      await Promise.resolve();
      seen.push("ends");
    });
    bus.on("a", () => seen.push("last"));

    await bus.emit("a", undefined);

    expect(seen).toEqual(["starts", "logged", "ends", "last"]);
  });

  test("makes no emit fail that nobody awaits", () => {
    const bus = new EventBus(new CollectingLogger());
    bus.on("a", fail);

    // The test runner fails the run on an unhandled rejection.
    expect(() => void bus.emit("a", undefined)).not.toThrow();
  });
});

describe("a handler that succeeds", () => {
  test.each([undefined, null, 0, "text", {}, Promise.resolve()])(
    "is not logged when it returns %j",
    async (result) => {
      const logger = new CollectingLogger();
      const bus = new EventBus(logger);
      bus.on("a", () => result);

      await bus.emit("a", undefined);

      expect(logger.logged).toEqual([]);
    },
  );
});

describe("a failure", () => {
  test("is logged under a constant message, whatever the event is called", async () => {
    const logger = new CollectingLogger();
    const bus = new EventBus(logger);
    bus.on("100 %s %o", () => Promise.reject(failure));

    await bus.emit("100 %s %o", undefined);

    expect(logger.logged).toEqual([["Event handler failed:", "100 %s %o", failure]]);
  });

  test("is logged before one that comes later", async () => {
    const logger = new CollectingLogger();
    const bus = new EventBus(logger);
    for (const number of [1, 2, 3, 4]) {
      bus.on("a", () => {
        if (number % 2 === 0) throw number;
        return Promise.reject(number);
      });
    }

    await bus.emit("a", undefined);

    expect(logger.logged.map(([, , error]) => error)).toEqual([1, 2, 3, 4]);
  });

  test("is logged on a stack of its own", async () => {
    let stack: string | undefined;
    const bus = new EventBus({ error: () => (stack = new Error().stack) });
    bus.on("a", fail);

    await (function emitter() {
      return bus.emit("a", undefined);
    })();

    expect(stack).toBeTruthy();
    expect(stack).not.toContain("emitter");
  });

  test("is logged without the payload", async () => {
    const logger = new CollectingLogger();
    const bus = new EventBus(logger);
    bus.on("a", () => Promise.reject(failure));

    await bus.emit("a", { email: "ada@example.com" });

    expect(JSON.stringify(logger.logged)).not.toContain("ada");
  });

  test.each([
    ["a bus that was given no logger", () => new EventBus()],
    ["the bus of a context that has none", () => getBus({})],
  ])("is logged to the global console by %s", async (_, create) => {
    const logged: unknown[][] = [];
    const original = console.error;
    console.error = (...args: unknown[]) => void logged.push(args);
    try {
      const bus = create();
      bus.on("a", () => Promise.reject(failure));
      await bus.emit("a", undefined);
    } finally {
      console.error = original;
    }

    expect(logged).toEqual([["Event handler failed:", "a", failure]]);
  });
});

describe("a logger", () => {
  test.each<[string, () => unknown]>([
    ["throws", fail],
    ["rejects", () => Promise.reject(failure)],
    ["returns a thenable that throws", () => ({ then: fail })],
    [
      "returns something whose then getter throws",
      () => Object.defineProperty({}, "then", { get: fail }),
    ],
    ["never settles", () => new Promise(() => {})],
  ])("that %s stops nothing", async (_, error) => {
    const bus = new EventBus({ error });
    const seen: string[] = [];
    bus.on("a", fail);
    bus.on("a", () => Promise.reject(failure));
    bus.on("a", () => seen.push("next handler"));

    await bus.emit("a", undefined);

    expect(seen).toEqual(["next handler"]);
  });

  test.each([null, {}, "console", { error: "no function" }])("is not %j", (logger) => {
    expect(() => new EventBus(logger as never)).toThrow(TypeError);
    expect(() => new EventBus(logger as never)).toThrow("logger.error must be of type function");
  });
});
