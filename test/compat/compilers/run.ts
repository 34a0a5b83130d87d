import { cpSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { withDeferred } from "../../fixtures/deferred";
import { node } from "../../fixtures/npm";
import { green, red } from "../../fixtures/print";
import { installTarball } from "../../package/installed";

const { resolve } = createRequire(import.meta.url);
const compilers = ["typescript-5.4", "typescript-5.9", "typescript", "typescript-7.0"];

const workersTypes = dirname(resolve("@cloudflare/workers-types/package.json"));
/** The two ways that `in-background.ts` shows, with the types of Cloudflare Workers. */
const worker = `
  import { waitUntil } from "cloudflare:workers";
  import { betterAuth } from "better-auth";
  import { privacy } from "./examples/recipes/in-background";
  const createAuth = (handler: (task: Promise<unknown>) => void) =>
    betterAuth({ advanced: { backgroundTasks: { handler } }, plugins: [privacy] });
  export const auth = createAuth(waitUntil);
  export const fetch: ExportedHandlerFetchHandler = (request, _, context) =>
    createAuth((task) => context.waitUntil(task)).handler(request);`;

const bundler = { module: "esnext", moduleResolution: "bundler", include: ["examples", "compat"] };
const workers = { ...bundler, include: ["examples", "worker.ts"] };
const nodenext = { module: "nodenext", include: ["examples", "compat"] };
const strictFlags = {
  erasableSyntaxOnly: true,
  exactOptionalPropertyTypes: true,
  noImplicitOverride: true,
  noImplicitReturns: true,
  noPropertyAccessFromIndexSignature: true,
  noUncheckedIndexedAccess: true,
  noUnusedLocals: true,
  noUnusedParameters: true,
  verbatimModuleSyntax: true,
};
/** The settings of users' projects, and what is compiled with them. */
const settings = {
  "a bundler": bundler,
  "ES modules": nodenext,
  CommonJS: { ...nodenext, type: "commonjs" },
  "strict flags": { ...nodenext, ...strictFlags },
  isolatedDeclarations: {
    ...nodenext,
    include: ["examples/*.ts"],
    isolatedDeclarations: true,
    declaration: true,
  },
  "Cloudflare Workers": { ...workers, types: ["node", workersTypes] },
  // The last, because Node's types are removed for it, and what needs them is left out.
  "Cloudflare Workers without Node's types": {
    ...workers,
    types: [workersTypes],
    preserveSymlinks: true,
    exclude: ["**/outbox/worker.ts", "**/after-commit.ts", "**/loggers.ts"],
  },
};

await withDeferred(async (defer) => {
  const { folder } = await installTarball(defer);
  const examples = "node_modules/@kernia/events/test/examples";
  cpSync(join(folder, examples), join(folder, "examples"), { recursive: true });
  cpSync(join(import.meta.dirname, "own-app.ts"), join(folder, "compat/compilers/own-app.ts"));
  writeFileSync(join(folder, "worker.ts"), worker);
  for (const [name, setting] of Object.entries<Record<string, unknown>>(settings)) {
    if ("exclude" in setting) rmSync(join(folder, "node_modules/@types"));
    for (const compiler of compilers) {
      const tsc = join(resolve(`${compiler}/package.json`), "../bin/tsc");
      const { include, exclude, type = "module", ...options } = setting;
      // The oldest that the README names knows not all of them.
      if (compiler === compilers[0] && name !== "a bundler") continue;
      const compilerOptions = {
        target: "es2022",
        lib: ["es2022"],
        types: ["node"],
        strict: true,
        skipLibCheck: true,
        noEmit: true,
        ...options,
      };
      writeFileSync(join(folder, "package.json"), JSON.stringify({ type }));
      writeFileSync(
        join(folder, "tsconfig.json"),
        JSON.stringify({ compilerOptions, include, exclude }),
      );
      const failure = await node(folder, tsc, "--project", ".", "--pretty", "false").then(
        () => undefined,
        (error: Error) => error.message.slice(0, 2_000),
      );
      if (failure) process.exitCode = 1;
      console.log(`${compiler}, ${name}: ${failure ? red(failure) : green("compiles")}`);
    }
  }
});
