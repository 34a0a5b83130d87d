import { AsyncLocalStorage } from "node:async_hooks";
import { EventBus } from "@kernia/events";
import { expect, test } from "vitest";

test("handlers run in the caller's async context", async () => {
  const request = new AsyncLocalStorage<string>();
  const bus = new EventBus();
  const seen: unknown[] = [];
  bus.on("a", () => seen.push(request.getStore()));
  bus.on("a", async () => {
    await Promise.resolve();
    seen.push(request.getStore());
  });
  bus.on("a", () => seen.push(request.getStore()));

  await Promise.all([
    request.run("one", () => bus.emit("a", undefined)),
    request.run("two", () => bus.emit("a", undefined)),
  ]);

  expect(seen.sort()).toEqual(["one", "one", "one", "two", "two", "two"]);
});

test("failures are logged in the caller's async context", async () => {
  const request = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const bus = new EventBus({ error: () => seen.push(request.getStore()) });
  bus.on("a", () => {
    throw new Error("fails");
  });
  bus.on("a", () => Promise.reject(new Error("fails")));

  await Promise.all([
    request.run("one", () => bus.emit("a", undefined)),
    request.run("two", () => bus.emit("a", undefined)),
  ]);

  expect(seen.sort()).toEqual(["one", "one", "two", "two"]);
});
