import { EventBus, getBus } from "@kernia/events";
import { describe, expect, test } from "vitest";
import { CollectingLogger } from "./collecting-logger";

describe("getBus", () => {
  test("creates a bus at auth.pluginState.events", () => {
    const auth = { pluginState: {} };

    const bus = getBus(auth);

    expect(bus).toBeInstanceOf(EventBus);
    expect(auth.pluginState).toEqual({ events: bus });
  });

  test("returns the same bus on every call", () => {
    const auth = { pluginState: {} };

    expect(getBus(auth)).toBe(getBus(auth));
  });

  test("keeps one bus per auth context", () => {
    expect(getBus({ pluginState: {} })).not.toBe(getBus({ pluginState: {} }));
  });

  test("leaves what other plugins keep in pluginState", () => {
    const auth = { pluginState: { billing: { plans: 3 } } };

    getBus(auth);

    expect(auth.pluginState.billing).toEqual({ plans: 3 });
  });

  test.each([[{}], [{ pluginState: undefined }]])(
    "gives a pluginState to the context %j",
    (auth: { pluginState?: object | undefined }) => {
      const bus = getBus(auth);

      expect(auth.pluginState).toEqual({ events: bus });
    },
  );

  test("fills a slot that holds undefined", () => {
    const auth = { pluginState: { events: undefined } };

    expect(getBus(auth)).toBe(auth.pluginState.events);
  });

  test("finds the bus from a copy of the context that shares pluginState", () => {
    const auth: { baseURL: string; pluginState?: object } = { baseURL: "http://localhost" };
    const bus = getBus(auth);

    expect(getBus({ ...auth })).toBe(bus);
  });

  test.each([undefined, null, "and now"])(
    "works where the context has a then that is %j",
    (then) => {
      const auth = { pluginState: {}, then };

      expect(getBus(auth)).toBe(getBus(auth));
    },
  );

  test("takes the context's logger", async () => {
    const logger = new CollectingLogger();
    const bus = getBus({ pluginState: {}, logger });
    bus.on("a", () => Promise.reject("failure"));

    await bus.emit("a", undefined);

    expect(logger.logged).toEqual([["Event handler failed:", "a", "failure"]]);
  });
});

describe("a bus that is there already", () => {
  class LoudBus extends EventBus {}

  const fake = { on: () => () => {}, off() {}, emit: async () => {} };

  test.each([
    ["a subclass", new LoudBus()],
    ["a fake", fake],
    ["a fake with methods on its prototype", Object.create(fake)],
    ["a function with the methods", Object.assign(() => {}, fake)],
  ])("is respected: %s", (_, events) => {
    const auth = { pluginState: { events } };

    expect(getBus(auth)).toBe(events);
    expect(auth.pluginState.events).toBe(events);
  });

  test("is respected in a context that is frozen", () => {
    const auth = Object.freeze({ pluginState: Object.freeze({ events: new EventBus() }) });

    expect(getBus(auth)).toBe(auth.pluginState.events);
  });
});

describe("getBus throws and overwrites nothing", () => {
  test.each([null, 0, "bus", true, {}, [], () => {}, { on() {}, off() {} }, { emit() {} }])(
    "when auth.pluginState.events holds %j",
    (events) => {
      const auth = { pluginState: { events } };

      expect(() => getBus(auth)).toThrow(TypeError);
      expect(() => getBus(auth)).toThrow(
        /^auth\.pluginState\.events\.\w+ must be of type function, got /,
      );
      expect(auth.pluginState.events).toBe(events);
    },
  );

  test.each([
    ["on", { off() {}, emit() {} }],
    ["off", { on() {}, emit() {} }],
    ["emit", { on() {}, off() {} }],
  ])("naming the method that is missing: %s", (method, events) => {
    expect(() => getBus({ pluginState: { events } })).toThrow(
      `auth.pluginState.events.${method} must be of type function, got undefined`,
    );
  });

  test.each([undefined, null, "auth", 1, true])("when the auth context is %j", (auth) => {
    expect(() => getBus(auth as never)).toThrow(TypeError);
    expect(() => getBus(auth as never)).toThrow(/^auth must be of type object, got /);
  });

  test.each([
    ["a promise of the context", () => Promise.resolve({ pluginState: {} })],
    ["another thenable", () => ({ pluginState: {}, then() {} })],
  ])("when it is %s, and says to await it", (_, create) => {
    const auth = create();
    // Node itself adds symbols to a promise.
    const before = Object.entries(auth);

    expect(() => getBus(auth as never)).toThrow(new TypeError("auth must be awaited first"));
    expect(Object.entries(auth)).toEqual(before);
  });

  test.each([null, "state", 1, true])("when auth.pluginState is %j", (pluginState) => {
    const auth = { pluginState: pluginState as never };

    expect(() => getBus(auth)).toThrow(TypeError);
    expect(() => getBus(auth)).toThrow(/^auth\.pluginState must be of type object, got /);
    expect(auth.pluginState).toBe(pluginState);
  });

  test("when auth.logger is not a logger", () => {
    const auth = { logger: {} as never };

    expect(() => getBus(auth)).toThrow(
      new TypeError("logger.error must be of type function, got undefined"),
    );
    expect(auth).toEqual({ logger: {} });
  });
});
