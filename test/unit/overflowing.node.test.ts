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
