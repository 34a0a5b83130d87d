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
import { beforeEach, expect, onTestFinished, test } from "vitest";
import winston from "winston";
import { commonOptions, startUp } from "../../fixtures/auth-server";
import { onUntilAborted } from "./abort-signal";
import { onEveryEvent } from "./every-event";
import { CollectedFailures } from "./failures";
import { privacy } from "./in-background";
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

/** Records spans until the end of the test, and knows which one is active. */
function startTracing(spanProcessor: SpanProcessor): void {
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [spanProcessor] }));
  const storage = new AsyncLocalStorage<Context>();
  const active = () => storage.getStore() ?? ROOT_CONTEXT;
  const run: ContextManager["with"] = (active, fn, self, ...args) =>
    storage.run(active, () => fn.apply(self, args));
  context.setGlobalContextManager({ active, with: run, disable() {} } as unknown as ContextManager);
  onTestFinished(() => [trace, context].forEach((api) => api.disable()));
}

test("the span of an emit is a child of the request's, the parent of its handlers', and ends after them", async () => {
  const exporter = new InMemorySpanExporter();
  startTracing(new SimpleSpanProcessor(exporter));
  const tracer = trace.getTracer("a test");
  traceEvents(bus);
  bus.on("user.deleted", () => Promise.reject(new Error("Stripe is unavailable")));
  bus.on("user.deleted", async () => {
    await Promise.resolve();
    tracer.startSpan("handler").end();
  });

  await tracer.startActiveSpan("request", (span) =>
    bus.emit("user.deleted", deleted).then(() => span.end()),
  );

  const ended = exporter.getFinishedSpans();
  expect(ended.map(({ name }) => name)).toEqual(["handler", "event user.deleted", "request"]);
  const parents = ended.map(({ parentSpanContext: parent }) =>
    ended.findIndex((span) => span.spanContext().spanId === parent?.spanId),
  );
  expect(parents).toEqual([1, 2, -1]);
});

const fail = () => expect.fail("out of order");

test.each<[string, () => unknown]>([
  ["onEveryEvent", () => onEveryEvent(bus, fail, logger)],
  ["onEveryEvent with a promise", () => onEveryEvent(bus, async () => fail(), logger)],
  [
    "traceEvents",
    () => {
      startTracing({ onStart: fail } as unknown as SpanProcessor);
      traceEvents(bus, logger);
    },
  ],
])("%s that fails stops nothing, and is logged", async (_, watch) => {
  watch();
  bus.on("user.deleted", () => seen.push("handler"));
  await bus.emit("user.deleted", deleted);
  await new Promise(setImmediate);

  expect(seen).toEqual(["handler"]);
  const error = expect.objectContaining({ message: "out of order" });
  expect(logger.failures).toEqual([{ event: "user.deleted", error }]);
});

test.each<[string, () => () => unknown]>([
  ["onEveryEvent", () => onEveryEvent(bus, () => seen.push("every event"))],
  ["traceEvents", () => traceEvents(bus)],
  ["trackEmits", () => trackEmits(bus)],
])("%s leaves a caller's mistake as it is, and is undone alone", async (_, watch) => {
  startTracing({ onStart: () => seen.push("a span") } as unknown as SpanProcessor);
  const undo = watch();
  const undoOther = onEveryEvent(bus, (event) => seen.push(event));
  expect(() => bus.emit(1 as never, 1 as never)).toThrow(
    "event must be of type string, got number",
  );
  await undo();
  await bus.emit("a", 1);
  expect(seen).toEqual(["a"]);

  undoOther();
  await bus.emit("b", 1);
  expect(seen).toEqual(["a"]);

  const { emit } = bus;
  await watch()();
  expect(bus.emit).toBe(emit);
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

test("a route answers before the handlers are done, and a background task waits for them", async () => {
  const tasks: Promise<unknown>[] = [];
  const auth = betterAuth({
    ...commonOptions,
    baseURL: "http://localhost",
    database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
    advanced: { backgroundTasks: { handler: (task) => tasks.push(task) } },
    plugins: [privacy],
  });
  let release = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  getBus(await auth.$context).on("privacy.export.requested", async ({ userId }) => {
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
  await Promise.all(tasks);
  expect(seen).toEqual([response.user.id]);
});
