import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { EventBus } from "@kernia/events";
import { expect, test } from "vitest";

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

/** A WeakRef keeps its target until the current job ends. */
const endOfJob = () => new Promise((resolve) => setImmediate(resolve));

const many = 100_000;

test.each<[string, (bus: EventBus, index: number) => unknown]>([
  ["a name that was emitted", (bus, index) => void bus.emit(`name.${index}`, undefined)],
  ["a name that lost its last handler", (bus, index) => bus.on(`name.${index}`, () => {})()],
  ["a handler that was unsubscribed where others stay", (bus) => bus.on("a", () => {})()],
])("%s keeps no memory", async (_, use) => {
  const bus = new EventBus();
  bus.on("a", () => {});
  collectGarbage();
  const before = process.memoryUsage().heapUsed;

  for (let index = 0; index < many; index++) use(bus, index);
  collectGarbage();

  expect(process.memoryUsage().heapUsed - before).toBeLessThan(10 * many);
  await bus.emit("the bus is in use", undefined);
});

test("an unsubscribed handler can be collected while its emit is under way", async () => {
  const bus = new EventBus();
  let release = () => {};
  bus.on("a", () => new Promise<void>((resolve) => (release = resolve)));
  const { unsubscribed, unsubscribe } = (() => {
    const handler = () => {};
    return { unsubscribed: new WeakRef(handler), unsubscribe: bus.on("a", handler) };
  })();
  const emitted = bus.emit("a", undefined);
  unsubscribe();

  await endOfJob();
  collectGarbage();

  expect(unsubscribed.deref()).toBeUndefined();
  release();
  await emitted;
  // The returned function was kept until here.
  unsubscribe();
});
