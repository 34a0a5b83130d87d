import { EventBus, getBus } from "@kernia/events";
import { expect, test } from "vitest";

test("getBus creates a bus at auth.pluginState.events, once, and leaves its neighbours", () => {
  const auth = { pluginState: { billing: 3 } };

  const bus = getBus(auth);

  expect(bus).toBeInstanceOf(EventBus);
  expect(auth.pluginState).toEqual({ billing: 3, events: bus });
  expect(getBus(auth)).toBe(bus);
  expect(getBus({ pluginState: {} })).not.toBe(bus);
});

test.each<[{ pluginState?: object | undefined }]>([
  [{}],
  [{ pluginState: undefined }],
  [{ pluginState: { events: undefined } }],
])("getBus fills in what the context %j lacks", (auth) => {
  const bus = getBus(auth);

  expect(auth.pluginState).toEqual({ events: bus });
});

test("getBus finds the bus from a copy of the context that shares pluginState", () => {
  const auth: { baseURL: string; pluginState?: object } = { baseURL: "http://localhost" };
  const bus = getBus(auth);

  expect(getBus({ ...auth })).toBe(bus);
});

test("getBus takes the context's logger", async () => {
  const logged: unknown[][] = [];
  const logger = { error: (...args: unknown[]) => logged.push(args) };
  const bus = getBus({ pluginState: {}, logger });
  bus.on("a", () => Promise.reject("failure"));

  await bus.emit("a", undefined);

  expect(logged).toEqual([["Event handler failed:", "a", "failure"]]);
});

const fake = { on: () => () => {}, off() {}, emit: async () => {} };

test.each([
  ["a subclass", new (class extends EventBus {})()],
  ["a fake", fake],
  ["a fake with methods on its prototype", Object.create(fake)],
])("getBus respects a bus that is there already, also in a frozen context: %s", (_, events) => {
  // Assigning what is there already would throw, too.
  const auth = Object.freeze({ pluginState: Object.freeze({ events }) });

  expect(getBus(auth)).toBe(events);
});

test.each([
  ["on", null],
  ["on", "bus"],
  ["on", { off() {}, emit() {} }],
  ["off", { on() {}, emit() {} }],
  ["emit", { on() {}, off() {} }],
])(
  "getBus throws and overwrites nothing when the method %s is missing from %j",
  (method, events) => {
    const auth = { pluginState: { events } };

    expect(() => getBus(auth)).toThrow(
      new TypeError(`auth.pluginState.events.${method} must be of type function, got undefined`),
    );
    expect(auth.pluginState.events).toBe(events);
  },
);

const promised = Promise.resolve({ pluginState: {} });

test.each([
  ["a promise of the context", promised],
  ["what has that promise, as Better Auth's instance", { pluginState: {}, $context: promised }],
  ["what inherits it", Object.create({ $context: promised })],
])("getBus throws for %s, overwrites nothing, and says what to pass", (_, auth) => {
  // Node itself adds symbols to a promise.
  const before = Object.entries(auth);

  expect(() => getBus(auth as never)).toThrow(
    new TypeError("auth is not a context: pass await auth.$context"),
  );
  expect(Object.entries(auth)).toEqual(before);
});

test("getBus works where a context has a then that is not a method", () => {
  const auth = { pluginState: {}, then: "and now" };

  expect(getBus(auth)).toBe(getBus(auth));
});

test.each<[string, unknown]>([
  ["auth must be of type object, got undefined", undefined],
  ["auth must be of type object, got null", null],
  ["auth.pluginState must be of type object, got null", { pluginState: null }],
  ["auth.pluginState must be of type object, got string", { pluginState: "state" }],
  ["logger.error must be of type function, got undefined", { logger: {} }],
])("getBus throws and overwrites nothing: %s", (message, auth) => {
  const before = JSON.stringify(auth);

  expect(() => getBus(auth as never)).toThrow(new TypeError(message));
  expect(JSON.stringify(auth)).toBe(before);
});
