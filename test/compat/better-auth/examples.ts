import { readFile } from "node:fs/promises";

/** An example that needs Better Auth, and how it is run with a version of it. */
export interface Example {
  /** In `test/examples`. */
  readonly path: string;
  /** Its lowest version, as its first lines say. */
  readonly lowest: string;
  /** The file that runs it, and with which arguments. */
  readonly script: string;
  readonly runs: readonly (readonly string[])[];
}

const scripts = {
  "standard-events.ts": "standard-events.ts",
  // It is judged by the events that the other emits.
  "seat-sync.ts": "standard-events.ts",
  "audit-log.ts": "audit-log.ts",
  "recipes/after-commit.ts": "after-commit.ts",
  "recipes/in-background.ts": "in-background.ts",
  "recipes/loggers.ts": "loggers.ts",
};

export const folder = new URL("../../examples/", import.meta.url);

export const examples = await Promise.all(
  Object.entries(scripts).map(async ([path, script]): Promise<Example> => {
    const text = await readFile(new URL(path, folder), "utf8");
    const lowest = /^\/\/ Needs Better Auth (1\.\d+) (?:or newer|to 1\.\d+)/.exec(text)?.[1];
    if (!lowest) throw new Error(`${path} does not say which Better Auth it needs`);
    const runs = script === "standard-events.ts" ? [[], ["--serial-ids"]] : [[]];
    return { path, lowest, script, runs };
  }),
);
