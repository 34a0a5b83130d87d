// What the unit tests import from vitest, and what runs them, where vitest itself does not run.
import { chai, JestAsymmetricMatchers, JestChaiExpect, JestExtend } from "@vitest/expect";
import { startTests, type VitestRunner } from "@vitest/runner";
import { getTests } from "@vitest/runner/utils";

export { describe, test } from "@vitest/runner";

for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin);
export const { expect } = chai;

export interface Report {
  readonly passed: number;
  /** A line for each error, and for each test that did not run. */
  readonly failures: readonly string[];
}

/** Test files by their names, and how to import each. */
export type Files = Record<string, () => Promise<unknown>>;

/** Runs test files in whatever runtime this is. */
export async function runTests(files: Files): Promise<Report> {
  const config = {
    root: "",
    setupFiles: [],
    sequence: { seed: 0, hooks: "stack", setupFiles: "list" },
    maxConcurrency: 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: 0,
    tags: [],
    // The runner reads nothing else of vitest's configuration.
  } as unknown as VitestRunner["config"];
  const runner: VitestRunner = { config, importFile: (file) => files[file]!() };
  const started = await startTests(Object.keys(files), runner);

  const tests = getTests(started);
  const failures = [...started, ...tests].flatMap(({ fullName, result }) =>
    result
      ? (result.errors ?? []).map(({ message }) => `${fullName}: ${message}`)
      : `${fullName}: did not run`,
  );
  return { passed: tests.filter(({ result }) => result?.state === "pass").length, failures };
}
