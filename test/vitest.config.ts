import { createRequire } from "node:module";
import { defineConfig } from "vitest/config";

const { resolve } = createRequire(import.meta.url);

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["unit/**/*.test.ts"] } },
      {
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
        test: {
          name: "examples",
          include: ["examples/**/*.test.ts"],
          globalSetup: "app/harness/global-setup.ts",
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "package",
          include: ["package/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
