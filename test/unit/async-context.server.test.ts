import { AsyncLocalStorage } from "node:async_hooks";
import { EventBus } from "@kernia/events";
import { expect, test } from "vitest";

test("handlers run, and failures are logged, in the caller's async context", async () => {
  const request = new AsyncLocalStorage<string>();
  const seen: string[] = [];
  const see = (name: string) => seen.push(`${name} of ${request.getStore()}`);
  const bus = new EventBus({ error: () => see("log") });
  bus.on("a", () => see("first"));
  bus.on("a", async () => {
    await Promise.resolve();
    see("second");
    throw new Error("fails");
  });
  bus.on("a", () => see("third"));

  await Promise.all([
    request.run("one", () => bus.emit("a", undefined)),
    request.run("two", () => bus.emit("a", undefined)),
  ]);

  const each = ["first", "second", "log", "third"];
  const expected = each.flatMap((name) => [`${name} of one`, `${name} of two`]);
  expect(seen.sort()).toEqual(expected.sort());
});
