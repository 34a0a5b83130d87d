import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { EventBus } from "@kernia/events";
import { expect, test } from "vitest";

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

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
