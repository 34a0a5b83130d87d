import { chmodSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";
import { createTemporaryFolder } from "./fixtures/temporary-folder.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

// A vitest that is interrupted leaves folders behind, and so do its workers: all are made in this one.
const folder = await createTemporaryFolder(() => {});
chmodSync(folder, 0o711);
for (const name of ["TMPDIR", "TEMP", "TMP"]) process.env[name] = folder;

/** All tests, with the library as it was last built. */
const all: ViteUserConfig = {
  test: {
    projects: [
      // Long enough for 100,000 handlers on a machine that is busy with other work.
      { test: { name: "unit", include: ["unit/**/*.test.ts"], testTimeout: 60_000 } },
      {
        test: {
          name: "types",
          include: [],
          typecheck: {
            enabled: true,
            only: true,
            include: ["types/**/*.test-d.ts"],
            tsconfig: "./tsconfig.json",
          },
        },
      },
      {
        test: {
          name: "examples",
          include: ["examples/**/*.test.ts", "fixtures/**/*.test.ts"],
          globalSetup: "fixtures/global-setup.ts",
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "package",
          include: ["package/**/*.test.ts"],
          globalSetup: "package/installed.ts",
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
};

/** The unit tests, with `src` as it was last saved. */
const source: ViteUserConfig = {
  root,
  resolve: { alias: { "@kernia/events": `${root}/src/index.ts` } },
  test: {
    include: ["test/unit/**/*.test.ts"],
    // It runs the last build, in a process of its own.
    exclude: ["test/unit/overflowing.node.test.ts"],
    testTimeout: 60_000,
    coverage: {
      provider: "v8",
      include: ["src/**"],
      reporter: "text",
      thresholds: { 100: true },
    },
  },
};

export default defineConfig(({ mode }) => (mode === "source" ? source : all));
