import { EventEmitter, on } from "node:events";
import { Writable } from "node:stream";
import { EventBus, getBus } from "@kernia/events";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import pino from "pino";
import { describe, expect, test } from "vitest";
import winston from "winston";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutboxDatabase } from "../../fixtures/outbox";
import { startWorker } from "../outbox/worker";
import { forPino, forWinston } from "./loggers";

const defer = deferToEnd();

type Line = Record<string, unknown>;

/** Collects the JSON lines that a logger writes, and says when there is one. */
class Lines extends EventEmitter {
  readonly lines: Line[] = [];
  readonly stream = new Writable({
    write: (line, _, done) => {
      this.lines.push(JSON.parse(String(line)));
      this.emit("line");
      done();
    },
  });

  async until(matches: (line: Line) => boolean): Promise<Line> {
    const written = on(this, "line");
    for (;;) {
      const line = this.lines.find(matches);
      if (line) return line;
      await written.next();
    }
  }
}

const deleted = { userId: "u_1", action: "deleted" } as const;
const fail = () =>
  Promise.reject(new Error("Stripe is unavailable", { cause: new Error("a timeout") }));

const loggers = [
  {
    name: "pino",
    create: (stream: Writable) => forPino(pino(stream)),
    messageOf: (line: Line) => line["msg"],
    level: { error: 50, warn: 40, info: 30 },
    /** How the log has an error that is the last of the details. */
    failure: (message: string, ...details: unknown[]) => ({
      err: expect.objectContaining({ message: expect.stringContaining(message) }),
      details,
    }),
  },
  {
    name: "winston",
    create: (stream: Writable) =>
      forWinston(winston.createLogger({ transports: [new winston.transports.Stream({ stream })] })),
    messageOf: (line: Line) => line["message"],
    level: { error: "error", warn: "warn", info: "info" },
    failure: (message: string, ...details: unknown[]) => ({
      details: [...details, expect.stringContaining(message)],
    }),
  },
];

describe.each(loggers)("$name", ({ create, messageOf, level, failure }) => {
  test("logs the handler that failed in a real Better Auth, with the event and the error", async () => {
    const { lines, stream } = new Lines();
    const auth = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
      telemetry: { enabled: false },
      logger: create(stream),
      plugins: [{ id: "fails", init: (auth) => void getBus(auth).on("user.deleted", fail) }],
    });

    await getBus(await auth.$context).emit("user.deleted", deleted);

    expect(lines.map(messageOf)).toEqual(["Event handler failed:"]);
    expect(lines).toMatchObject([
      { level: level.error, ...failure("Stripe is unavailable", "user.deleted") },
    ]);
    expect(JSON.stringify(lines)).toContain("a timeout");
  });

  test("logs the failures of the outbox's worker, where the error follows the message", async () => {
    const written = new Lines();
    // There is no outbox in it, which no worker gets over.
    const { databaseUrl } = await createOutboxDatabase(defer, { outbox: false });
    const logger = create(written.stream);
    const worker = await startWorker({ databaseUrl, queues: {}, logger });

    const line = await written.until((line) => JSON.stringify(line).includes("event_outbox"));
    await worker.stop();

    expect(line).toMatchObject({ level: level.error, ...failure("event_outbox") });
  });

  test("keeps the level of what Better Auth logs, and leaves out what is below its own", () => {
    const { lines, stream } = new Lines();
    const { log } = create(stream);

    log("warn", "one", 1);
    log("info", "two");
    log("debug", "three");

    expect(lines).toMatchObject([
      { level: level.warn, details: [1] },
      { level: level.info, details: [] },
    ]);
  });

  test("gets what Better Auth logs at its lowest level", async () => {
    const { lines, stream } = new Lines();
    const { $context } = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: memoryAdapter({}),
      telemetry: { enabled: false },
      logger: create(stream),
    });

    (await $context).logger.info("hello");

    expect(lines.map(messageOf)).toContain("hello");
  });

  test("logs whatever a handler throws, and an error wherever it stands", async () => {
    const { lines, stream } = new Lines();
    const logger = create(stream);
    const bus = new EventBus(logger);
    bus.on("user.deleted", () => Promise.reject("a text"));

    await bus.emit("user.deleted", deleted);
    logger.error("first", new Error("broken"), "after");

    expect(lines).toMatchObject([{ details: ["user.deleted", "a text"] }, {}]);
    expect(JSON.stringify(lines[1])).toMatch(/broken.*after|after.*broken/);
  });
});

test("without that, pino loses the event and the error", async () => {
  const { lines, stream } = new Lines();
  const bus = new EventBus(pino(stream));
  bus.on("user.deleted", fail);

  await bus.emit("user.deleted", deleted);

  expect(lines).toEqual([expect.not.objectContaining({ err: expect.anything() })]);
  expect(JSON.stringify(lines)).not.toContain("user.deleted");
});
