import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { EventBus } from "@kernia/events";
import { describe, expect, test } from "vitest";

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

/** How many bytes of heap are still in use after `work` than before. */
async function growth(work: () => Promise<void>): Promise<number> {
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  await work();
  collectGarbage();
  return process.memoryUsage().heapUsed - before;
}

/** A WeakRef keeps its target until the current job ends. */
const endOfJob = () => new Promise((resolve) => setImmediate(resolve));

const many = 100_000;
const megabyte = 1_000_000;

test.each<[string, (bus: EventBus, name: string) => unknown]>([
  ["was emitted", (bus, name) => void bus.emit(name, undefined)],
  ["lost its last handler by the returned function", (bus, name) => bus.on(name, () => {})()],
  [
    "lost its last handler by off",
    (bus, name) => {
      const handler = () => {};
      bus.on(name, handler);
      bus.off(name, handler);
    },
  ],
])("a name without handlers keeps no memory when it %s", async (_, use) => {
  const bus = new EventBus();

  const bytes = await growth(async () => {
    for (let index = 0; index < many; index++) use(bus, `name.${index}`);
  });

  expect(bytes).toBeLessThan(megabyte);
  await bus.emit("the bus is in use", undefined);
});

test("handlers that were unsubscribed keep no memory where others stay", async () => {
  const bus = new EventBus();
  bus.on("a", () => {});

  const bytes = await growth(async () => {
    const unsubscribes = Array.from({ length: many }, () => bus.on("a", () => {}));
    await bus.emit("a", undefined);
    for (const unsubscribe of unsubscribes) unsubscribe();
  });

  expect(bytes).toBeLessThan(megabyte);
  await bus.emit("a", undefined);
});

describe("a handler can be collected once it was unsubscribed", () => {
  /** Subscribes a handler, emits, and unsubscribes it. */
  async function expectCollected(bus: EventBus) {
    const { unsubscribed, unsubscribe } = (() => {
      const handler = () => {};
      return { unsubscribed: new WeakRef(handler), unsubscribe: bus.on("a", handler) };
    })();
    const emitted = bus.emit("a", undefined);
    unsubscribe();

    await endOfJob();
    collectGarbage();

    expect(unsubscribed.deref()).toBeUndefined();
    // Keeps the function until here.
    unsubscribe();
    return { emitted };
  }

  test("also while the function that unsubscribed it is kept", async () => {
    const bus = new EventBus();
    bus.on("a", () => {});

    const { emitted } = await expectCollected(bus);

    await emitted;
  });

  test("also while an emit is under way", async () => {
    const bus = new EventBus();
    let release = () => {};
    bus.on("a", () => new Promise<void>((resolve) => (release = resolve)));

    const { emitted } = await expectCollected(bus);

    release();
    await emitted;
  });
});

test("a payload can be collected once its emit is done", async () => {
  const bus = new EventBus();
  bus.on("a", () => {});
  bus.on("a", async () => {});
  const emitted = await (async () => {
    const payload = {};
    await bus.emit("a", payload);
    return new WeakRef(payload);
  })();

  await endOfJob();
  collectGarbage();

  expect(emitted.deref()).toBeUndefined();
  await bus.emit("a", undefined);
});
