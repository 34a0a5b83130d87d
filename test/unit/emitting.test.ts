import { AsyncLocalStorage } from "node:async_hooks";
import { EventBus } from "@kernia/events";
import { describe, expect, test } from "vitest";

const tick = () => Promise.resolve();

test("emit calls the handlers in the order of registration, awaiting each before the next", async () => {
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

test("emit starts handlers before it returns, up to the first that is awaited", () => {
  const bus = new EventBus();
  const seen: number[] = [];
  bus.on("a", () => seen.push(1));
  bus.on("a", async () => seen.push(2));
  bus.on("a", () => seen.push(3));

  void bus.emit("a", undefined);

  expect(seen).toEqual([1, 2]);
});

test("emit awaits any thenable, once", async () => {
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

test.each([undefined, null, 0, { then: "not a function" }])(
  "emit awaits nothing for a handler that returns %j, which is no failure",
  async (result) => {
    const seen: string[] = [];
    const bus = new EventBus({ error: () => seen.push("logged") });
    const handler = () => {
      void tick().then(() => seen.push("microtask"));
      return result;
    };
    bus.on("a", async () => {});
    bus.on("a", handler);
    bus.on("a", () => seen.push("next handler"));

    await bus.emit("a", undefined);
    await tick();

    expect(seen).toEqual(["next handler", "microtask"]);
  },
);

test("a handler gets the payload itself, not frozen, and nothing else", async () => {
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

// That nobody else is skipped or runs twice, whatever is changed and when, is tested in model.test.ts
describe.each([
  ["a sync", (act: () => unknown) => void act()],
  ["an async", (act: () => unknown) => tick().then(act)],
])("in an emit under way, while %s handler runs", (_, handle) => {
  test.each<[string, (bus: EventBus, handler: () => void, unsubscribe: () => void) => void]>([
    ["the returned function", (_bus, _handler, unsubscribe) => unsubscribe()],
    ["off", (bus, handler) => bus.off("a", handler)],
  ])("a handler that %s removes does not start again", async (_, remove) => {
    const bus = new EventBus();
    const seen: string[] = [];
    const removed = () => seen.push("removed");
    bus.on("a", () => handle(() => remove(bus, removed, unsubscribe)));
    const unsubscribe = bus.on("a", removed);
    bus.on("a", () => seen.push("last"));

    await bus.emit("a", undefined);

    expect(seen).toEqual(["last"]);
  });

  test("a handler that is added waits for the next emit", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    bus.on("a", () =>
      handle(() => bus.on("a", (payload) => seen.push(`added runs for ${payload}`))),
    );

    await bus.emit("a", "first");
    await bus.emit("a", "next");

    expect(seen).toEqual(["added runs for next"]);
  });
});

test("emits may nest: one that a handler awaits is complete before the outer one goes on", async () => {
  const bus = new EventBus();
  const seen: string[] = [];
  bus.on("outer", async () => {
    await bus.emit("inner", undefined);
    seen.push("outer first");
  });
  bus.on("outer", () => seen.push("outer second"));
  bus.on("inner", tick);
  bus.on("inner", () => seen.push("inner"));

  await bus.emit("outer", undefined);

  expect(seen).toEqual(["inner", "outer first", "outer second"]);
});

test("emits may overlap: none is held up by a handler that never settles in another", async () => {
  const bus = new EventBus();
  const seen: string[] = [];
  bus.on("a", (payload: string) => (payload === "hangs" ? new Promise(() => {}) : undefined));
  bus.on("a", (payload: string) => seen.push(payload));

  void bus.emit("a", "hangs");
  await bus.emit("a", "goes on");

  expect(seen).toEqual(["goes on"]);
});

test("handlers run, and failures are logged, in the caller's async context", async () => {
  const request = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const see = () => seen.push(request.getStore());
  const bus = new EventBus({ error: see });
  bus.on("a", see);
  bus.on("a", async () => {
    await tick();
    see();
    throw new Error("fails");
  });
  bus.on("a", see);

  const emit = () => bus.emit("a", undefined);
  await Promise.all([request.run("one", emit), request.run("two", emit)]);

  const [ofOne, ofTwo] = ["one", "two"].map((name) => Array(4).fill(name));
  expect(seen.sort()).toEqual([...ofOne!, ...ofTwo!]);
});
