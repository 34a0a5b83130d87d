import { readdirSync, rmSync, statSync } from "node:fs";
import { defineConfig } from "tsup";

const mostMilliseconds = 60_000;

// tsup loads a copy of this file that it puts beside it. A build that is killed at that moment leaves its
// copy, and the next build removes it; not a new one, which another build may be about to load.
for (const name of readdirSync(".").filter((name) => name.startsWith("tsup.config.bundled_"))) {
  const file = statSync(name, { throwIfNoEntry: false });
  if (file && Date.now() - file.mtimeMs > mostMilliseconds) rmSync(name, { force: true });
}

export default defineConfig({
  entry: ["src/index.ts"],
  format: ["esm", "cjs"],
  target: "es2022",
  platform: "neutral",
  // tsup 8 builds declarations with an option that TypeScript 6 deprecates.
  dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
  // What is there is overwritten, not removed first: another demo or test may be about to load it.
  silent: true,
});
