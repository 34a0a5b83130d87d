import { trace } from "@opentelemetry/api";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { EventBus, getBus } from "@kernia/events";
import { afterAll, describe, expect, test } from "vitest";
import { onUntilAborted } from "./abort-signal";
import { onEveryEvent } from "./every-event";
import { CollectedFailures } from "./failures";
import { once } from "./once";
import { traceEvents } from "./spans";
import { withTimeLimit } from "./time-limit";
import { trackEmits } from "./under-way";

const deleted = { userId: "u_1", action: "deleted" } as const;

describe("once", () => {
  test("the handler is called for the first emit only", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    once(bus, "user.deleted", ({ userId }) => seen.push(userId));

    await bus.emit("user.deleted", { ...deleted, userId: "u_1" });
    await bus.emit("user.deleted", { ...deleted, userId: "u_2" });

    expect(seen).toEqual(["u_1"]);
  });

  test("an emit from within the handler does not call it again", async () => {
    const bus = new EventBus();
    let calls = 0;
    once(bus, "user.deleted", async () => {
      calls++;
      await bus.emit("user.deleted", deleted);
    });

    await bus.emit("user.deleted", deleted);

    expect(calls).toBe(1);
  });

  test("the emit waits for it, and it can be unsubscribed before", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    once(bus, "user.deleted", async () => {
      await Promise.resolve();
      seen.push("waited for");
    });
    const unsubscribe = once(bus, "user.deleted", () => seen.push("unsubscribed"));
    unsubscribe();

    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual(["waited for"]);
  });

  test("off with the handler does not unsubscribe it, for the bus knows another function", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    const handler = () => seen.push("called");
    once(bus, "user.deleted", handler);
    bus.off("user.deleted", handler);

    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual(["called"]);
  });
});

describe("until a signal is aborted", () => {
  test("the handler is called, and afterwards it is not", async () => {
    const bus = new EventBus();
    const controller = new AbortController();
    const seen: string[] = [];
    onUntilAborted(bus, "user.deleted", ({ userId }) => seen.push(userId), controller.signal);

    await bus.emit("user.deleted", deleted);
    controller.abort();
    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual(["u_1"]);
  });

  test("a signal that is aborted already leaves no handler behind", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    onUntilAborted(bus, "user.deleted", ({ userId }) => seen.push(userId), AbortSignal.abort());

    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual([]);
  });
});

describe("seeing every event", () => {
  test("works on a bus that others have subscribed to, before their handlers", async () => {
    const auth = { pluginState: {} };
    const seen: unknown[] = [];
    getBus(auth).on("user.deleted", () => seen.push("handler"));
    onEveryEvent(getBus(auth), (event, payload) => seen.push([event, payload]));

    await getBus(auth).emit("user.deleted", deleted);
    await getBus(auth).emit("my.own", 1);

    expect(seen).toEqual([["user.deleted", deleted], "handler", ["my.own", 1]]);
  });

  test("several see them, the last one first", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    onEveryEvent(bus, () => seen.push("first"));
    onEveryEvent(bus, () => seen.push("second"));

    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual(["second", "first"]);
  });
});

describe("waiting for what is under way", () => {
  test("waits for emits that nobody awaits, and for those that begin meanwhile", async () => {
    const bus = new EventBus();
    const settled = trackEmits(bus);
    const seen: string[] = [];
    bus.on("user.deleted", async () => {
      await Promise.resolve();
      void bus.emit("crm.person.forgotten", undefined);
    });
    bus.on("crm.person.forgotten", async () => {
      await new Promise(setImmediate);
      seen.push("forgotten");
    });

    void bus.emit("user.deleted", deleted);
    await settled();

    expect(seen).toEqual(["forgotten"]);
  });

  test("does not wait where nothing is under way", async () => {
    const bus = new EventBus();
    const settled = trackEmits(bus);
    bus.on("user.deleted", () => {});

    await settled();
    await bus.emit("user.deleted", deleted);
    await settled();
  });

  test("a caller's mistake is still an error of the emit", async () => {
    const bus = new EventBus();
    const settled = trackEmits(bus);

    expect(() => bus.emit(1 as unknown as string, deleted)).toThrow(TypeError);
    await settled();
  });
});

describe("spans", () => {
  const exporter = new InMemorySpanExporter();
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
  );
  afterAll(() => trace.disable());

  test("one for each emit, which ends after its last handler, also where one fails", async () => {
    const bus = new EventBus({ error() {} });
    traceEvents(bus);
    const ended: number[] = [];
    bus.on("user.deleted", () => Promise.reject(new Error("Stripe is unavailable")));
    bus.on("user.deleted", async () => {
      await Promise.resolve();
      ended.push(exporter.getFinishedSpans().length);
    });

    await bus.emit("user.deleted", deleted);
    await bus.emit("my.own", undefined);

    expect(exporter.getFinishedSpans().map(({ name }) => name)).toEqual([
      "event user.deleted",
      "event my.own",
    ]);
    expect(ended).toEqual([0]);
  });
});

describe("a time limit", () => {
  test("ends the waiting for a handler that hangs, and has it logged", async () => {
    const logger = new CollectedFailures();
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
    expect(logger.failures).toEqual([
      { event: "user.deleted", error: expect.objectContaining({ name: "TimeoutError" }) },
    ]);
  });

  test("leaves alone a handler that is done in time", async () => {
    const logger = new CollectedFailures();
    const bus = new EventBus(logger);
    const seen: unknown[] = [];
    bus.on(
      "user.deleted",
      withTimeLimit(60_000, async ({ userId }) => seen.push(userId)),
    );

    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual(["u_1"]);
    expect(logger.failures).toEqual([]);
  });

  test("leaves a handler's own failure what it is", async () => {
    const logger = new CollectedFailures();
    const bus = new EventBus(logger);
    const throws = () => {
      throw "failure";
    };
    bus.on("user.deleted", withTimeLimit(60_000, throws));
    bus.on(
      "user.deleted",
      withTimeLimit(60_000, async () => throws()),
    );

    await bus.emit("user.deleted", deleted);

    expect(logger.failures.map(({ error }) => error)).toEqual(["failure", "failure"]);
  });
});

describe("failing a test when a handler failed", () => {
  test("a handler that failed leaves what it threw", async () => {
    const logger = new CollectedFailures();
    const auth = { pluginState: {}, logger };
    getBus(auth).on("user.deleted", () => Promise.reject("Stripe is unavailable"));

    await getBus(auth).emit("user.deleted", deleted);

    expect(logger.failures).toEqual([{ event: "user.deleted", error: "Stripe is unavailable" }]);
  });

  test("handlers that succeeded leave nothing", async () => {
    const logger = new CollectedFailures();
    const auth = { pluginState: {}, logger };
    getBus(auth).on("user.deleted", async () => "fine");

    await getBus(auth).emit("user.deleted", deleted);

    expect(logger.failures).toEqual([]);
  });
});
