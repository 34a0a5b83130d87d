import { EventBus } from "@kernia/events";
import { describe, expect, test } from "vitest";

const tick = () => Promise.resolve();

describe("emit", () => {
  test("calls the handlers in the order of registration", async () => {
    const bus = new EventBus();
    const seen: number[] = [];
    for (const number of [1, 2, 3, 4]) bus.on("a", () => seen.push(number));

    await bus.emit("a", undefined);

    expect(seen).toEqual([1, 2, 3, 4]);
  });

  test("awaits each handler before the next starts", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    for (const name of ["first", "second"]) {
      bus.on("a", async () => {
        seen.push(`${name} starts`);
        await tick();
        seen.push(`${name} ends`);
      });
    }
    bus.on("a", () => seen.push("third"));

    await bus.emit("a", undefined);

    expect(seen).toEqual(["first starts", "first ends", "second starts", "second ends", "third"]);
  });

  test("awaits any thenable, once", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    const thenable = {
      then(resolve: (value: unknown) => void) {
        seen.push("then");
        resolve(undefined);
      },
    };
    bus.on("a", () => thenable);
    bus.on("a", () => Object.assign(() => {}, thenable));
    bus.on("a", () => seen.push("last"));

    await bus.emit("a", undefined);

    expect(seen).toEqual(["then", "then", "last"]);
  });

  test("starts handlers before it returns, up to the first that is awaited", () => {
    const bus = new EventBus();
    const seen: number[] = [];
    bus.on("a", () => seen.push(1));
    bus.on("a", async () => seen.push(2));
    bus.on("a", () => seen.push(3));

    void bus.emit("a", undefined);

    expect(seen).toEqual([1, 2]);
  });

  test.each([undefined, null, 0, "text", {}, { then: "no function" }, () => {}])(
    "awaits nothing for a handler that returns %j",
    async (result) => {
      const bus = new EventBus();
      const seen: string[] = [];
      bus.on("a", async () => {});
      bus.on("a", () => {
        void tick().then(() => seen.push("microtask"));
        return result;
      });
      bus.on("a", () => seen.push("next handler"));

      await bus.emit("a", undefined);
      await tick();

      expect(seen).toEqual(["next handler", "microtask"]);
    },
  );

  test("costs no microtask when there is nothing to await", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    bus.on("a", () => {});

    const emitted = bus.emit("a", undefined).then(() => seen.push("emitted"));
    const microtask = tick().then(() => seen.push("microtask"));
    await Promise.all([emitted, microtask]);

    expect(seen).toEqual(["emitted", "microtask"]);
  });

  test.each<[string, (() => unknown)[]]>([
    ["no handler", []],
    ["sync handlers", [() => "ignored"]],
    ["async handlers", [async () => "ignored"]],
    ["a failing handler", [() => Promise.reject("ignored")]],
  ])("returns a promise of undefined with %s", async (_, handlers) => {
    const bus = new EventBus({ error() {} });
    for (const handler of handlers) bus.on("a", handler);

    const emitted = bus.emit("a", undefined);

    expect(emitted).toBeInstanceOf(Promise);
    expect(await emitted).toBeUndefined();
  });

  test("throws for an event that is not a string", () => {
    expect(() => new EventBus().emit(undefined as unknown as string, undefined)).toThrow(
      new TypeError("event must be of type string, got undefined"),
    );
  });
});

describe("a handler", () => {
  test("gets the payload itself, and nothing else", async () => {
    const bus = new EventBus();
    const payload = { changeable: true };
    const seen: unknown[][] = [];
    bus.on("a", async (...args) => seen.push(args));
    bus.on("a", (...args) => seen.push(args));

    await bus.emit("a", payload);

    expect(seen).toEqual([[payload], [payload]]);
    expect(seen.every(([first]) => first === payload)).toBe(true);
    expect(Object.isFrozen(payload)).toBe(false);
  });
});

describe("emits", () => {
  test("may overlap, each keeping its own order and payload", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    for (const name of ["first", "second"]) {
      bus.on("a", async (payload: string) => {
        await tick();
        seen.push(`${payload} ${name}`);
      });
    }

    await Promise.all([bus.emit("a", "one"), bus.emit("a", "two")]);

    expect(seen.filter((entry) => entry.startsWith("one"))).toEqual(["one first", "one second"]);
    expect(seen.filter((entry) => entry.startsWith("two"))).toEqual(["two first", "two second"]);
  });

  test("may nest: one that a handler awaits is complete before the outer one goes on", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    bus.on("outer", async () => {
      await bus.emit("inner", undefined);
      seen.push("outer first");
    });
    bus.on("outer", () => seen.push("outer second"));
    bus.on("inner", async () => {
      await tick();
      seen.push("inner first");
    });
    bus.on("inner", () => seen.push("inner second"));

    await bus.emit("outer", undefined);

    expect(seen).toEqual(["inner first", "inner second", "outer first", "outer second"]);
  });

  test("are not held up by a handler that never settles in another", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    bus.on("a", (payload: string) => (payload === "hangs" ? new Promise(() => {}) : undefined));
    bus.on("a", (payload: string) => seen.push(payload));

    void bus.emit("a", "hangs");
    await bus.emit("a", "goes on");

    expect(seen).toEqual(["goes on"]);
  });
});

test("methods throw when they are not called on the bus itself", () => {
  const bus = new EventBus();
  const { on, off, emit } = bus;
  const proxy = new Proxy(bus, {});

  expect(() => on("a", () => {})).toThrow(TypeError);
  expect(() => off("a", () => {})).toThrow(TypeError);
  expect(() => emit("a", undefined)).toThrow(TypeError);
  expect(() => proxy.on("a", () => {})).toThrow(TypeError);
  expect(() => proxy.off("a", () => {})).toThrow(TypeError);
  expect(() => proxy.emit("a", undefined)).toThrow(TypeError);
});

describe("an event name", () => {
  test.each(["", "__proto__", "constructor", "hasOwnProperty", "toString", "%s %o", "a b\n☃"])(
    "may be %j",
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
});

describe("many handlers on one event", () => {
  const count = 20_000;

  // With time that grows with the number of handlers, this takes minutes.
  test("are subscribed and unsubscribed, first to last and last to first", async () => {
    const count = 100_000;
    const bus = new EventBus();
    let calls = 0;
    const subscribeAll = () => Array.from({ length: count }, () => bus.on("a", () => calls++));

    for (const unsubscribe of subscribeAll()) unsubscribe();
    for (const unsubscribe of subscribeAll().reverse()) unsubscribe();
    await bus.emit("a", undefined);

    expect(calls).toBe(0);
  });

  test.each([
    ["sync", () => {}],
    ["rejecting", () => Promise.reject(new Error("fails"))],
  ])("are all called when they are %s", async (_, handler) => {
    const bus = new EventBus({ error() {} });
    let calls = 0;
    for (let index = 0; index < count; index++) {
      bus.on("a", () => {
        calls++;
        return handler();
      });
    }

    await bus.emit("a", undefined);

    expect(calls).toBe(count);
  });

  test("have at most one promise pending", async () => {
    const bus = new EventBus();
    let pending = 0;
    let most = 0;
    for (let index = 0; index < count; index++) {
      bus.on("a", async () => {
        most = Math.max(most, ++pending);
        await tick();
        pending--;
      });
    }

    await bus.emit("a", undefined);

    expect(most).toBe(1);
  });
});
