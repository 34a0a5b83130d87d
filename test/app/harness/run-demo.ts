import { withDeferred, type Defer } from "./deferred";
import { SetupError } from "./postgres";
import { red } from "./print";

/**
 * Runs a demo that returns whether all came out as it should, and then what it deferred. The process
 * exits with 1 if it did not, or if the demo failed.
 */
export async function runDemo(demo: (defer: Defer) => Promise<boolean>): Promise<void> {
  // Whoever reads has seen enough, as in `npm run demo | head`.
  process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => {
    process.exit(code === "EPIPE" ? 0 : 1);
  });
  try {
    if (!(await withDeferred(demo))) process.exitCode = 1;
  } catch (error) {
    console.error(error instanceof SetupError ? red(error.message) : error);
    process.exitCode = 1;
  }
}
