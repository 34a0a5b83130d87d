import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";
import { build } from "esbuild";
import { contenders } from "./contenders";
import { compared, type Table } from "./report";

/** What each contender's import adds to a bundle, minified and brotli-compressed. */
export async function measureSizes(): Promise<Table> {
  const figures: { name: string; value: number }[] = [];
  for (const { name, imports } of contenders) {
    if (imports) figures.push({ name, value: await bytes(imports) });
  }
  return {
    title: "size, minified and brotli-compressed",
    unit: "bytes",
    figures: compared(figures),
  };
}

async function bytes(contents: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    write: false,
  });
  return brotliCompressSync(outputFiles[0]!.contents).length;
}
