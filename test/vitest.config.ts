import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { defineConfig, type Plugin } from "vitest/config";
import { ask } from "./fixtures/guardian.ts";

const { resolve } = createRequire(import.meta.url);

/** A vitest that is interrupted leaves the temporary folder of each project behind. */
const plugins: Plugin[] = [
  {
    name: "removes-temporary-folder",
    configureVitest: ({ project }) => ask("takeOver", project.tmpDir),
  },
];

export default defineConfig({
  test: {
    projects: [
      // Long enough for 100,000 handlers on a machine that is busy with other work.
      { plugins, test: { name: "unit", include: ["unit/**/*.test.ts"], testTimeout: 60_000 } },
      {
        plugins,
        test: {
          name: "types",
          include: [],
          typecheck: {
            enabled: true,
            only: true,
            include: ["types/**/*.test-d.ts"],
            tsconfig: "./tsconfig.json",
            // By its path: the older compilers that the package is tested with are called tsc too.
            checker: resolve("typescript/bin/tsc"),
          },
        },
      },
      {
        plugins,
        test: {
          name: "examples",
          include: ["examples/**/*.test.ts", "fixtures/**/*.test.ts"],
          globalSetup: "fixtures/global-setup.ts",
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        plugins,
        test: {
          name: "package",
          include: ["package/**/*.test.ts"],
          // Each of those that run together is a compiler, which takes a processor and up to a gigabyte.
          maxConcurrency: availableParallelism(),
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
