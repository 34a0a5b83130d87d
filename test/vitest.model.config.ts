import { defineConfig } from "vitest/config";

/** The long run of the model: a million programs. */
export default defineConfig({
  test: { include: ["unit/model.test.ts"], env: { MODEL_PROGRAMS: "1000000" } },
});
