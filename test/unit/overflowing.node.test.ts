import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const some = 1_000;

/** Runs a script and returns what it wrote; fails if it ends with an error. */
function run(script: string) {
  const args = ["--input-type", "module", "--eval", script];
  return promisify(execFile)(process.execPath, args, {
    cwd: import.meta.dirname,
    maxBuffer: Infinity,
  });
}

test.each([
  ["handlers", "() => void bus.emit(event)"],
  ["async handlers", "async () => await bus.emit(event)"],
])("%s that emit each other's events for ever are logged to the console", async (_, handler) => {
  const { stdout, stderr } = await run(`
    import { EventBus } from "@kernia/events";
    const bus = new EventBus();
    const handlerThatEmits = (event) => ${handler};
    bus.on("a", handlerThatEmits("b"));
    bus.on("b", handlerThatEmits("a"));
    await bus.emit("a");
    console.log("emitted");
  `);

  const logged = stderr.match(/^Event handler failed: [ab] RangeError/gm)?.length ?? 0;
  expect(logged).toBeGreaterThan(0);
  expect(logged).toBeLessThan(some);
  expect(stdout).toBe("emitted\n");
});

test("no rejection is left unhandled when the logger throws, wherever the stack ends", async () => {
  const { stdout } = await run(`
    import { EventBus } from "@kernia/events";
    const below = (frames, emit) => (frames === 0 ? emit() : below(frames - 1, emit));
    const belowWide = (frames, a, b, c, d, emit) =>
      frames === 0 ? emit() : belowWide(frames - 1, a, b, c, d, emit);

    let logged = 0;
    for (let place = 0; place < 400; place++) {
      const bus = new EventBus({
        error() {
          logged++;
          throw new Error("the logger fails");
        },
      });
      bus.on("a", () => void bus.emit("b"));
      bus.on("b", () => void bus.emit("a"));
      await belowWide(place % 11, 1, 2, 3, 4, () => below(place % 37, () => bus.emit("a")));
      // Node ends with an error here, if at all.
      await new Promise((resolve) => setImmediate(resolve));
    }
    console.log(logged >= 400);
  `);

  expect(stdout).toBe("true\n");
});
