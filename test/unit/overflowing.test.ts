import { EventBus } from "@kernia/events";
import { expect, test } from "vitest";

/** A level may need more of the stack than the one before it, so more than one may fail. */
const some = 1_000;

/** Calls `then` with so many more frames on the stack. */
function descend<Result>(frames: number, then: () => Result): Result {
  return frames === 0 ? then() : descend(frames - 1, then);
}

/** A bus whose logger needs some of the stack, as `console` does. */
function createBus() {
  const errors: unknown[] = [];
  const bus = new EventBus({
    error: (_message, _event, error) => descend(100, () => errors.push(error)),
  });
  return { bus, errors };
}

// Node says on stderr that it could not keep track of a rejection where the stack ends, so async handlers
// are tried in a process of their own: overflowing.node.test.ts
test.each<[string, (emitted: Promise<void>) => unknown]>([
  ["handlers", () => {}],
  ["handlers that return the promise of the emit", (emitted) => emitted],
])(
  "%s that emit for ever are logged wherever the stack ends, not for each level",
  async (_, end) => {
    for (let frames = 0; frames < 50; frames++) {
      const { bus, errors } = createBus();
      bus.on("a", () => end(bus.emit("b", undefined)));
      bus.on("b", () => end(bus.emit("a", undefined)));

      await descend(frames, () => bus.emit("a", undefined));

      expect(errors.length).toBeGreaterThan(0);
      expect(errors.length).toBeLessThan(some);
      expect(errors.every((error) => error instanceof RangeError)).toBe(true);
    }
  },
);

test("100,000 nested emits all happen, or a failure is logged", async () => {
  const { bus, errors } = createBus();
  const most = 100_000;
  let deepest = 0;
  bus.on("a", (depth: number) => {
    deepest = depth;
    if (depth < most) void bus.emit("a", depth + 1);
  });

  await bus.emit("a", 1);

  expect(deepest === most || errors.length > 0).toBe(true);
});
