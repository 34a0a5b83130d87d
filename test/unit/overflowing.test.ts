import { EventBus, type Logger } from "@kernia/events";
import { describe, expect, test } from "vitest";

/** A level may need more of the stack than the one before it, so more than one may fail. */
const some = 1_000;

/** Needs this many frames of the stack. */
function descend(frames: number): number {
  return frames === 0 ? 0 : 1 + descend(frames - 1);
}

/** A logger that needs some of the stack, as `console` does, and what it was told. */
function createLogger() {
  const errors: unknown[] = [];
  const logger: Logger = {
    error(_message, _event, error) {
      descend(100);
      errors.push(error);
    },
  };
  return { logger, errors };
}

type Emit = () => Promise<void>;

// Node says on stderr that it could not keep track of a rejection where the stack ends, so the async
// ones are tried in a process of their own: overflowing.node.test.ts
describe.each<[string, (emit: Emit) => unknown]>([
  ["handlers", (emit) => void emit()],
  ["handlers that return the promise of the emit", (emit) => emit()],
])("%s that emit each other's events for ever", (_, call) => {
  /** A bus on which "a" emits "b", and "b" emits "a". */
  function createBus(logger?: Logger) {
    const bus = new EventBus(logger);
    bus.on("a", () => call(() => bus.emit("b", undefined)));
    bus.on("b", () => call(() => bus.emit("a", undefined)));
    return bus;
  }

  test("are logged wherever in the bus the stack ends, and not for each level", async () => {
    for (let frames = 0; frames < 50; frames++) {
      const { logger, errors } = createLogger();
      const bus = createBus(logger);

      await emitBelow(frames, () => bus.emit("a", undefined));

      expect(errors.length).toBeGreaterThan(0);
      expect(errors.length).toBeLessThan(some);
      expect(errors.every((error) => error instanceof RangeError)).toBe(true);
    }
  });

  test("leave the bus as it was", async () => {
    const bus = createBus({ error() {} });
    const seen: unknown[] = [];
    bus.on("c", (payload) => seen.push(payload));

    await bus.emit("a", undefined);
    await bus.emit("c", "heard");

    expect(seen).toEqual(["heard"]);
  });
});

/** Emits with so many frames on the stack already. */
function emitBelow(frames: number, emit: Emit): Promise<void> {
  return frames === 0 ? emit() : emitBelow(frames - 1, emit);
}

test.each([5_000, 100_000])("%i nested emits all happen, or a failure is logged", async (most) => {
  const { logger, errors } = createLogger();
  const bus = new EventBus(logger);
  let deepest = 0;
  bus.on("a", (depth: number) => {
    deepest = Math.max(deepest, depth);
    if (depth < most) void bus.emit("a", depth + 1);
  });

  await bus.emit("a", 1);

  expect(deepest === most || errors.length > 0).toBe(true);
});
