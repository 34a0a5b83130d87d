import { startTests, type VitestRunner } from "@vitest/runner";
import { getTests } from "@vitest/runner/utils";

export interface Report {
  readonly passed: number;
  /** A line for each test that failed. */
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

  const failures = started.flatMap(({ name, result }) =>
    (result?.errors ?? []).map(({ message }) => `${name}: ${message}`),
  );
  const tests = getTests(started);
  const failed = tests.filter(({ result }) => result?.state !== "pass");
  for (const { fullName, result } of failed) {
    failures.push(`${fullName}: ${result?.errors?.[0]?.message ?? "did not run"}`);
  }
  return { passed: tests.length - failed.length, failures };
}
