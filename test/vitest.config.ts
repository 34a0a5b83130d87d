import { chmodSync } from "node:fs";
import { createRequire } from "node:module";
import { defineConfig } from "vitest/config";
import { createTemporaryFolder } from "./fixtures/temporary-folder.ts";

// A vitest that is interrupted leaves folders behind, and so do its workers: all are made in this one.
const folder = await createTemporaryFolder(() => {});
chmodSync(folder, 0o711);
for (const name of ["TMPDIR", "TEMP", "TMP"]) process.env[name] = folder;

export default defineConfig({
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
            checker: createRequire(import.meta.url).resolve("typescript/bin/tsc"),
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
});
