/** Takes what is to be done at the end. */
export type Defer = (cleanUp: () => unknown) => void;

export const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs `main`, then what it deferred, last first; that also happens when `main` fails, and when the
 * process is interrupted. Returns what `main` returns.
 */
export async function withCleanup<Result>(main: (defer: Defer) => Promise<Result>) {
  const deferred: (() => unknown)[] = [];
  let cleaning: Promise<void> | undefined;

  const interrupt = () => exit(130);
  const crash = (error: unknown) => {
    console.error(error);
    return exit(1);
  };
  for (const signal of signals) process.on(signal, interrupt);
  process.on("uncaughtException", crash);
  try {
    return await main((next) => deferred.push(next));
  } finally {
    // What was cleaned up under main's feet made it fail; the exit that follows says why.
    if (cleaning) await new Promise(() => {});
    await cleanUp();
    for (const signal of signals) process.off(signal, interrupt);
    process.off("uncaughtException", crash);
  }

  async function exit(code: number) {
    await cleanUp();
    process.exit(code);
  }

  /** Cleans up once, though one Ctrl-C may arrive several times, by way of npm and tsx. */
  function cleanUp(): Promise<void> {
    return (cleaning ??= runDeferred());
  }

  async function runDeferred() {
    for (let next = deferred.pop(); next; next = deferred.pop()) {
      try {
        await next();
      } catch (error) {
        console.error("Cleaning up failed:", error);
      }
    }
  }
}
