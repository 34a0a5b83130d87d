import { EventBus, getBus, type EventName, type EventPayload } from "@kernia/events";
import { describe, expect, test } from "vitest";
import { withTimeLimit } from "./time-limit";
import { CollectingLogger } from "../../unit/collecting-logger";

const deleted = { userId: "u_1", action: "deleted" } as const;

test("once", async () => {
  const bus = new EventBus();
  const seen: string[] = [];
  const unsubscribe = bus.on("user.deleted", ({ userId }) => {
    unsubscribe();
    seen.push(userId);
  });

  await bus.emit("user.deleted", deleted);
  await bus.emit("user.deleted", deleted);

  expect(seen).toEqual(["u_1"]);
});

test("unsubscribing with an AbortSignal", async () => {
  const bus = new EventBus();
  const controller = new AbortController();
  const seen: string[] = [];
  const unsubscribe = bus.on("user.deleted", ({ userId }) => seen.push(userId));
  controller.signal.addEventListener("abort", unsubscribe);

  await bus.emit("user.deleted", deleted);
  controller.abort();
  await bus.emit("user.deleted", deleted);

  expect(seen).toEqual(["u_1"]);
});

test("seeing every event", async () => {
  const seen: string[] = [];
  class TracingBus extends EventBus {
    override emit<Name extends EventName>(event: Name, payload: EventPayload<Name>): Promise<void> {
      seen.push(event);
      return super.emit(event, payload);
    }
  }
  const auth = { pluginState: { events: new TracingBus() } };

  await getBus(auth).emit("user.deleted", deleted);
  await getBus(auth).emit("my.own", undefined);

  expect(seen).toEqual(["user.deleted", "my.own"]);
});

describe("a time limit", () => {
  test("ends the waiting for a handler that hangs, and has it logged", async () => {
    const logger = new CollectingLogger();
    const bus = new EventBus(logger);
    const seen: unknown[] = [];
    const hang = withTimeLimit(1, (_, signal) => {
      signal.addEventListener("abort", () => seen.push("told by the signal"));
      return new Promise(() => {});
    });
    bus.on("user.deleted", hang);
    bus.on("user.deleted", () => seen.push("next handler"));

    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual(["told by the signal", "next handler"]);
    expect(logger.logged).toEqual([
      ["Event handler failed:", "user.deleted", expect.objectContaining({ name: "TimeoutError" })],
    ]);
  });

  test("leaves alone a handler that is done in time", async () => {
    const logger = new CollectingLogger();
    const bus = new EventBus(logger);
    const seen: unknown[] = [];
    bus.on(
      "user.deleted",
      withTimeLimit(1_000, async ({ userId }) => seen.push(userId)),
    );

    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual(["u_1"]);
    expect(logger.logged).toEqual([]);
  });

  test("leaves a handler's own failure what it is", async () => {
    const logger = new CollectingLogger();
    const bus = new EventBus(logger);
    const throws = () => {
      throw "failure";
    };
    bus.on("user.deleted", withTimeLimit(1, throws));
    bus.on(
      "user.deleted",
      withTimeLimit(1, async () => throws()),
    );

    await bus.emit("user.deleted", deleted);

    expect(logger.logged.map(([, , error]) => error)).toEqual(["failure", "failure"]);
  });
});

describe("failing a test when a handler failed", () => {
  /** A fake context that collects what its handlers threw. */
  function createContext() {
    const failures: unknown[][] = [];
    const logger = { error: (...failure: unknown[]) => failures.push(failure) };
    return { failures, auth: { pluginState: {}, logger } };
  }

  test("a handler that failed leaves what it threw", async () => {
    const { failures, auth } = createContext();
    getBus(auth).on("user.deleted", () => Promise.reject("Stripe is away"));

    await getBus(auth).emit("user.deleted", deleted);

    expect(failures).toEqual([["Event handler failed:", "user.deleted", "Stripe is away"]]);
  });

  test("handlers that succeeded leave nothing", async () => {
    const { failures, auth } = createContext();
    getBus(auth).on("user.deleted", async () => "fine");

    await getBus(auth).emit("user.deleted", deleted);

    expect(failures).toEqual([]);
  });
});
