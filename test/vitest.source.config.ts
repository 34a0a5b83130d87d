import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const root = fileURLToPath(new URL("..", import.meta.url));

/** The unit tests on `src` as it was last saved, rather than on the last build. */
export default defineConfig({
  root,
  resolve: { alias: { "@kernia/events": `${root}/src/index.ts` } },
  test: {
    include: ["test/unit/**/*.test.ts"],
    testTimeout: 60_000,
    // Runs the last build, in a process of its own.
    exclude: ["test/unit/overflowing.node.test.ts"],
    coverage: {
      provider: "v8",
      include: ["src/**"],
      reporter: "text",
      thresholds: { 100: true },
    },
  },
});
