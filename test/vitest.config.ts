import { chmodSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";
import { createTemporaryFolder } from "./fixtures/temporary-folder.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

// A vitest that is interrupted leaves folders behind, and so do its workers: all are made in this one.
const folder = await createTemporaryFolder(() => {});
chmodSync(folder, 0o711);
for (const name of ["TMPDIR", "TEMP", "TMP"]) process.env[name] = folder;

/** Long enough for a machine that is busy with other work. */
const patient = { testTimeout: 120_000, hookTimeout: 120_000 };

/** All tests, with the library as it was last built. */
const all: ViteUserConfig = {
  test: {
    projects: [
      { test: { name: "unit", include: ["unit/**/*.test.ts"], ...patient } },
      {
        test: {
          name: "types",
          include: [],
          typecheck: { enabled: true, only: true, tsconfig: "./tsconfig.json" },
        },
      },
      {
        test: {
          name: "examples",
          include: ["examples/**/*.test.ts"],
          globalSetup: "fixtures/global-setup.ts",
          ...patient,
        },
      },
      {
        test: {
          name: "package",
          include: ["package/**/*.test.ts"],
          globalSetup: "package/installed.ts",
          ...patient,
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
    ...patient,
    coverage: { include: ["src/**"], reporter: "text", thresholds: { 100: true } },
  },
};

export default defineConfig(({ mode }) => (mode === "source" ? source : all));
