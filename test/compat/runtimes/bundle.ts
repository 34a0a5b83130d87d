import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const folder = fileURLToPath(new URL(".", import.meta.url));

/**
 * One script of the unit tests: `files`, which `deliver` runs with what run-tests.ts exports. Tests of a
 * `.node.test.ts` are left out, and in a browser those of a `.server.test.ts` too.
 */
export async function bundleUnitTests(kind: "server" | "browser", deliver: string) {
  const leftOut = kind === "server" ? /\.node\.test\.ts$/ : /\.(node|server)\.test\.ts$/;
  const files = readdirSync(new URL("../../unit", import.meta.url)).filter(
    (file) => file.endsWith(".test.ts") && !leftOut.test(file),
  );
  const imports = files.map((file) => `"${file}": () => import("../../unit/${file}")`);
  const contents = `
    import { runTests, runWatchingRejections } from "./run-tests";
    const files = { ${imports.join(",\n")} };
    ${deliver}`;

  const { outputFiles } = await build({
    stdin: { contents, resolveDir: folder },
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "neutral",
    mainFields: ["module", "main"],
    external: ["node:*"],
    alias: { vitest: `${folder}/vitest.ts` },
    // As if there were none, also where there is one: Deno would ask for a permission.
    define: { process: "undefined", "process.env": "{}" },
    write: false,
  });
  return outputFiles[0]!.text;
}
