import { AsyncLocalStorage } from "node:async_hooks";
import {
  context,
  ROOT_CONTEXT,
  trace,
  type Context,
  type ContextManager,
} from "@opentelemetry/api";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type SpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { Writable } from "node:stream";
import { EventBus, getBus, type UserEvent } from "@kernia/events";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import pino from "pino";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import winston from "winston";
import { fastPassword, startUp } from "../../fixtures/auth-server";
import { onUntilAborted } from "./abort-signal";
import { onEveryEvent } from "./every-event";
import { CollectedFailures } from "./failures";
import { keepAlive, privacy } from "./in-background";
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

test("once, a handler runs for one emit, which waits for it, even if it emits again", async () => {
  once(bus, "user.deleted", () => seen.push("never"))();
  once(bus, "user.deleted", async ({ userId }) => {
    await bus.emit("user.deleted", deleted);
    await new Promise(setImmediate);
    seen.push(userId);
  });

  await bus.emit("user.deleted", deleted);
  expect(seen).toEqual(["u_1"]);
  await bus.emit("user.deleted", deleted);
  expect(seen).toEqual(["u_1"]);
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

test("every event is seen on a bus in use, before its handlers", async () => {
  bus.on("user.deleted", () => seen.push("handler"));
  onEveryEvent(bus, (event, payload) => seen.push([event, payload]));

  await bus.emit("user.deleted", deleted);
  await bus.emit("my.own", 1);

  expect(seen).toEqual([["user.deleted", deleted], "handler", ["my.own", 1]]);
});

test.each<[string, () => unknown]>([
  ["throws", () => expect.fail("out of order")],
  ["rejects", () => Promise.reject(new Error("out of order"))],
])("who sees every event and %s stops nothing, and is logged", async (_, fail) => {
  bus.on("user.deleted", () => seen.push("handler"));
  onEveryEvent(bus, fail, logger);

  await bus.emit("user.deleted", deleted);
  await new Promise(setImmediate);

  expect(seen).toEqual(["handler"]);
  const error = expect.objectContaining({ message: "out of order" });
  expect(logger.failures).toEqual([{ event: "user.deleted", error }]);
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

  void bus.emit("user.deleted", deleted);
  await settled();

  expect(seen).toEqual(["forgotten"]);
});

/** Keeps the spans that have ended, and knows which one is active. */
function startTracing(spanProcessor?: SpanProcessor): InMemorySpanExporter {
  const exporter = new InMemorySpanExporter();
  const spanProcessors = [spanProcessor ?? new SimpleSpanProcessor(exporter)];
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }));
  const active = new AsyncLocalStorage<Context>();
  const manager: ContextManager = {
    active: () => active.getStore() ?? ROOT_CONTEXT,
    with: (context, run, self, ...args) => active.run(context, () => run.apply(self, args)),
    bind: (_, target) => target,
    enable: () => manager,
    disable: () => manager,
  };
  context.setGlobalContextManager(manager);
  onTestFinished(() => [trace, context].forEach((api) => api.disable()));
  return exporter;
}

test("each emit has a span, which ends after its last handler, even if one fails", async () => {
  const exporter = startTracing();
  traceEvents(bus);
  bus.on("user.deleted", () => Promise.reject(new Error("Stripe is unavailable")));
  bus.on("user.deleted", async () => {
    await Promise.resolve();
    seen.push(exporter.getFinishedSpans().length);
  });

  await bus.emit("user.deleted", deleted);

  expect(seen).toEqual([0]);
  expect(exporter.getFinishedSpans()).toMatchObject([{ name: "event user.deleted" }]);
});

test("the span of an emit is a child of the request's, and the parent of its handlers'", async () => {
  const exporter = startTracing();
  const tracer = trace.getTracer("a test");
  traceEvents(bus);
  bus.on("user.deleted", async () => {
    await Promise.resolve();
    tracer.startSpan("handler").end();
  });

  await tracer.startActiveSpan("request", (span) =>
    bus.emit("user.deleted", deleted).then(() => span.end()),
  );

  const spans = exporter.getFinishedSpans();
  const parents = spans.map(({ name, parentSpanContext: parent }) => [
    name,
    spans.find((span) => span.spanContext().spanId === parent?.spanId)?.name,
  ]);
  expect(parents).toEqual([
    ["handler", "event user.deleted"],
    ["event user.deleted", "request"],
    ["request", undefined],
  ]);
});

test.each(["onStart", "onEnd"] as const)(
  "a span processor that throws in %s stops nothing, and is logged",
  async (method) => {
    const processor = {
      onStart() {},
      onEnd() {},
      forceFlush: async () => {},
      shutdown: async () => {},
    };
    startTracing({ ...processor, [method]: () => expect.fail("out of order") });
    traceEvents(bus, logger);
    bus.on("user.deleted", () => seen.push("handler"));

    await bus.emit("user.deleted", deleted);
    await new Promise(setImmediate);

    expect(seen).toEqual(["handler"]);
    const error = expect.objectContaining({ message: "out of order" });
    expect(logger.failures).toEqual([{ event: "user.deleted", error }]);
  },
);

describe.each<[string, (bus: EventBus) => () => unknown]>([
  ["onEveryEvent", (bus) => onEveryEvent(bus, () => seen.push("every event"))],
  ["traceEvents", (bus) => traceEvents(bus)],
  ["trackEmits", (bus) => trackEmits(bus)],
])("%s", (name, watch) => {
  test(`after ${name}, emit throws a caller's mistake as before`, () => {
    watch(bus);

    expect(() => bus.emit(Symbol() as never, undefined as never)).toThrow(
      new TypeError("event must be of type string, got symbol"),
    );
    expect(seen).toEqual([]);
  });

  test(`${name} is undone alone, also if another replaced emit after it`, async () => {
    const exporter = startTracing();
    const { emit } = bus;
    const undo = watch(bus);
    const undoOther = onEveryEvent(bus, (event) => seen.push(event));
    await undo();
    await bus.emit("a", 1);
    expect([seen, exporter.getFinishedSpans()]).toEqual([["a"], []]);

    undoOther();
    await watch(bus)();
    await bus.emit("b", 1);
    expect([seen, exporter.getFinishedSpans()]).toEqual([["a"], []]);
  });
});

test("a time limit ends the wait for a handler that hangs, and a logger collects the failure", async () => {
  const hang = withTimeLimit(1, (_, signal) => {
    signal.addEventListener("abort", () => seen.push("aborted"));
    return new Promise(() => {});
  });
  bus.on("user.deleted", hang);
  bus.on(
    "user.deleted",
    withTimeLimit(60_000, () => Promise.reject("a failure of its own")),
  );
  bus.on(
    "user.deleted",
    withTimeLimit<UserEvent>(60_000, ({ userId }) => seen.push(userId)),
  );

  await bus.emit("user.deleted", deleted);

  expect(seen).toEqual(["aborted", "u_1"]);
  expect(logger.failures).toEqual([
    { event: "user.deleted", error: expect.objectContaining({ name: "TimeoutError" }) },
    { event: "user.deleted", error: "a failure of its own" },
  ]);
});

const forWinstonTo = (stream: Writable) =>
  forWinston(winston.createLogger({ transports: [new winston.transports.Stream({ stream })] }));

test.each([
  { name: "pino", create: (stream: Writable) => forPino(pino(stream)), levels: [50, 50, 40] },
  { name: "winston", create: forWinstonTo, levels: ["error", "error", "warn"] },
])("$name logs the event, the error and its cause; its level decides", async (logger) => {
  const lines: string[] = [];
  const stream = new Writable({ write: (line, _, done) => done(void lines.push(String(line))) });
  const auth = await startUp({ logger: logger.create(stream) });
  const error = new Error("Stripe is unavailable", { cause: new Error("a timeout") });

  for (const bus of [getBus(auth), new EventBus(logger.create(stream))]) {
    bus.on("user.deleted", () => Promise.reject(error));
    await bus.emit("user.deleted", deleted);
  }
  auth.logger.warn("careful", 1);
  auth.logger.debug("unimportant");

  expect(lines.map((line) => JSON.parse(line).level)).toEqual(logger.levels);
  const failure =
    /^(?=.*Event handler failed)(?=.*user\.deleted).*Stripe is unavailable.*a timeout/;
  const expected = [failure, failure, /"details":\[1\]/].map((text) => expect.stringMatching(text));
  expect(lines).toEqual(expected);
});

test.each(["with background tasks", "without them"])(
  "%s, a route answers before the handlers are done, and they go on",
  async (name) => {
    const tasks: Promise<unknown>[] = [];
    const auth = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
      emailAndPassword: { enabled: true, password: fastPassword },
      telemetry: { enabled: false },
      advanced: name === "without them" ? {} : keepAlive((task) => tasks.push(task)),
      plugins: [privacy],
    });
    const bus = getBus(await auth.$context);
    const settled = trackEmits(bus);
    let release = () => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    bus.on("privacy.export.requested", async ({ userId }) => {
      await released;
      await new Promise(setImmediate);
      seen.push(userId);
    });
    const body = { name: "Ada", email: "ada@example.com", password: "correct horse" };
    const { headers, response } = await auth.api.signUpEmail({ body, returnHeaders: true });

    const cookie = headers.getSetCookie().join("; ");
    const answer = await auth.api.exportMe({ headers: { cookie }, asResponse: true });
    expect([answer.status, seen]).toEqual([200, []]);
    release();
    await (name === "without them" ? settled() : Promise.all(tasks));
    expect(seen).toEqual([response.user.id]);
  },
);
