import { startTests, type VitestRunner } from "@vitest/runner";
import { getTests } from "@vitest/runner/utils";

export interface Report {
  readonly passed: number;
  /** A line for each test that failed, and for each rejection that nobody handled. */
  readonly failures: readonly string[];
}

/** Runs test files, given as their names and what imports them, in whatever runtime this is. */
export async function runTests(files: Record<string, () => Promise<unknown>>): Promise<Report> {
  const runner: VitestRunner = {
    config: {
      root: "",
      name: undefined,
      setupFiles: [],
      passWithNoTests: false,
      testNamePattern: undefined,
      allowOnly: false,
      sequence: { seed: 0, hooks: "stack", setupFiles: "list" },
      chaiConfig: undefined,
      maxConcurrency: 1,
      testTimeout: 60_000,
      hookTimeout: 60_000,
      retry: 0,
      includeTaskLocation: false,
      tags: [],
      tagsFilter: undefined,
      strictTags: false,
    },
    importFile: (file) => files[file]!(),
  };
  const started = await startTests(Object.keys(files), runner);

  const failures: string[] = [];
  let passed = 0;
  for (const { name, result } of started) {
    for (const error of result?.errors ?? []) failures.push(`${name}: ${error.message}`);
  }
  for (const test of getTests(started)) {
    if (test.result?.state === "pass") passed++;
    else failures.push(`${test.fullName}: ${test.result?.errors?.[0]?.message ?? "did not run"}`);
  }
  return { passed, failures };
}
