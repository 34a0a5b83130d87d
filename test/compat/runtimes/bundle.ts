import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const folder = fileURLToPath(new URL(".", import.meta.url));

/** One script of the unit tests but those for Node: `files`, which `deliver` runs with `runTests`. */
export async function bundleUnitTests(deliver: string) {
  const files = readdirSync(new URL("../../unit", import.meta.url)).filter(
    (file) => file.endsWith(".test.ts") && !file.endsWith(".node.test.ts"),
  );
  const imports = files.map((file) => `"${file}": () => import("../../unit/${file}")`);
  const contents = `
    import { runTests } from "./run-tests";
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
