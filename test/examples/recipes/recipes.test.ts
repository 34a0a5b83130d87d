import { trace } from "@opentelemetry/api";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { Writable } from "node:stream";
import { EventBus, getBus, type UserEvent } from "@kernia/events";
import pino from "pino";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import winston from "winston";
import { startUp } from "../../fixtures/auth-server";
import { onUntilAborted } from "./abort-signal";
import { onEveryEvent } from "./every-event";
import { CollectedFailures } from "./failures";
import { forPino, forWinston } from "./loggers";
import { once } from "./once";
import { traceEvents } from "./spans";
import { withTimeLimit } from "./time-limit";
import { trackEmits } from "./under-way";

const deleted = { userId: "u_1", action: "deleted" } as const;

let bus: EventBus;
let logger: CollectedFailures;
let seen: unknown[];

beforeEach(() => {
  logger = new CollectedFailures();
  bus = new EventBus(logger);
  seen = [];
});

describe("once", () => {
  test("the handler runs for one emit, which waits for it, even if it emits again", async () => {
    once(bus, "user.deleted", async ({ userId }) => {
      await bus.emit("user.deleted", deleted);
      await new Promise(setImmediate);
      seen.push(userId);
    });

    await bus.emit("user.deleted", deleted);
    seen.push("emitted");
    await bus.emit("user.deleted", deleted);
    expect(seen).toEqual(["u_1", "emitted"]);
  });

  test("only the returned function unsubscribes it before; off with the handler does not", async () => {
    const [first, second] = [() => seen.push("first"), () => seen.push("second")];
    once(bus, "user.deleted", first)();
    once(bus, "user.deleted", second);
    bus.off("user.deleted", second);

    await bus.emit("user.deleted", deleted);

    expect(seen).toEqual(["second"]);
  });
});

test("until a signal is aborted: the handler runs before, and neither after nor if it already is", async () => {
  const controller = new AbortController();
  onUntilAborted(bus, "user.deleted", () => seen.push("before"), controller.signal);
  onUntilAborted(bus, "user.deleted", () => seen.push("never"), AbortSignal.abort());

  await bus.emit("user.deleted", deleted);
  controller.abort();
  await bus.emit("user.deleted", deleted);

  expect(seen).toEqual(["before"]);
});

test("every event is seen on a bus in use, before its handlers, the last of several first", async () => {
  bus.on("user.deleted", () => seen.push("handler"));
  onEveryEvent(bus, (event, payload) => seen.push([event, payload]));
  onEveryEvent(bus, () => seen.push("last"));

  await bus.emit("user.deleted", deleted);
  await bus.emit("my.own", 1);

  expect(seen).toEqual(["last", ["user.deleted", deleted], "handler", "last", ["my.own", 1]]);
});

test("emits under way are waited for, including those that begin meanwhile", async () => {
  const settled = trackEmits(bus);
  bus.on("user.deleted", async () => {
    await Promise.resolve();
    void bus.emit("crm.user.forgotten", undefined);
  });
  bus.on("crm.user.forgotten", async () => {
    await new Promise(setImmediate);
    seen.push("forgotten");
  });
  await settled();

  void bus.emit("user.deleted", deleted);
  expect(() => bus.emit(1 as unknown as string, deleted)).toThrow(TypeError);
  await settled();

  expect(seen).toEqual(["forgotten"]);
});

test("each emit has a span, which ends after its last handler, even if one fails", async () => {
  const exporter = new InMemorySpanExporter();
  const spanProcessors = [new SimpleSpanProcessor(exporter)];
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }));
  onTestFinished(() => trace.disable());
  traceEvents(bus);
  bus.on("user.deleted", () => Promise.reject(new Error("Stripe is unavailable")));
  bus.on("user.deleted", async () => {
    await Promise.resolve();
    seen.push(exporter.getFinishedSpans().length);
  });

  await bus.emit("user.deleted", deleted);
  await bus.emit("my.own", undefined);

  const names = exporter.getFinishedSpans().map(({ name }) => name);
  expect(names).toEqual(["event user.deleted", "event my.own"]);
  expect(seen).toEqual([0]);
});

test("a time limit ends the wait for a handler that hangs, and a logger collects the failure", async () => {
  const hang = withTimeLimit(1, (_, signal) => {
    signal.addEventListener("abort", () => seen.push("aborted"));
    return new Promise(() => {});
  });
  const fail = withTimeLimit(60_000, () => Promise.reject("a failure of its own"));
  const succeed = withTimeLimit(60_000, async ({ userId }: UserEvent) => seen.push(userId));
  for (const handler of [hang, fail, succeed]) bus.on("user.deleted", handler);

  await bus.emit("user.deleted", deleted);

  expect(seen).toEqual(["aborted", "u_1"]);
  expect(logger.failures).toEqual([
    { event: "user.deleted", error: expect.objectContaining({ name: "TimeoutError" }) },
    { event: "user.deleted", error: "a failure of its own" },
  ]);
});

describe.each([
  {
    name: "pino",
    create: (stream: Writable) => forPino(pino(stream)),
    failure: {
      level: 50,
      msg: "Event handler failed:",
      err: { message: "Stripe is unavailable: a timeout" },
      details: ["user.deleted"],
    },
    warning: { level: 40, msg: "careful", details: [1] },
  },
  {
    name: "winston",
    create: (stream: Writable) =>
      forWinston(winston.createLogger({ transports: [new winston.transports.Stream({ stream })] })),
    failure: {
      level: "error",
      message: "Event handler failed:",
      details: ["user.deleted", expect.stringMatching(/Stripe is unavailable[^]*a timeout/)],
    },
    warning: { level: "warn", message: "careful", details: [1] },
  },
])("a logger for $name", ({ create, failure, warning }) => {
  const lines: unknown[] = [];
  const stream = new Writable({
    write: (line, _, done) => done(void lines.push(JSON.parse(String(line)))),
  });

  test("logs the event, the error and its cause; levels are kept, and the lower ones left out", async () => {
    const auth = await startUp({ logger: create(stream) });
    const error = new Error("Stripe is unavailable", { cause: new Error("a timeout") });
    getBus(auth).on("user.deleted", () => Promise.reject(error));

    await getBus(auth).emit("user.deleted", deleted);
    auth.logger.warn("careful", 1);
    auth.logger.debug("unimportant");
    const bus = new EventBus(create(stream));
    bus.on("user.deleted", () => Promise.reject(error));
    await bus.emit("user.deleted", deleted);

    expect(lines).toMatchObject([failure, warning, failure]);
  });
});

test("without it, pino loses the event and the error", async () => {
  const lines: string[] = [];
  const bus = new EventBus(pino({}, { write: (line) => lines.push(line) }));
  bus.on("user.deleted", () => Promise.reject(new Error("Stripe is unavailable")));

  await bus.emit("user.deleted", deleted);

  expect(lines.join()).toContain("Event handler failed:");
  expect(lines.join()).not.toMatch(/user\.deleted|Stripe/);
});
