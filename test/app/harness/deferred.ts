/** Takes what has to be done at the end. */
export type Defer = (cleanUp: () => unknown) => void;

/** What was deferred, and the one way to run it. */
export class Deferred {
  readonly #cleanUps: (() => unknown)[] = [];

  readonly defer: Defer = (cleanUp) => {
    this.#cleanUps.push(cleanUp);
  };

  /**
   * Runs what was deferred, last first, each once. One that fails does not keep the others from
   * running.
   *
   * @throws AggregateError of all that failed.
   */
  async run(): Promise<void> {
    const failures: unknown[] = [];
    for (let next = this.#cleanUps.pop(); next; next = this.#cleanUps.pop()) {
      try {
        await next();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "Cleaning up failed");
  }
}

/** Runs `main`, then what it deferred, also when it fails. Returns what `main` returns. */
export async function withDeferred<Result>(
  main: (defer: Defer) => Promise<Result>,
): Promise<Result> {
  const deferred = new Deferred();
  try {
    return await main(deferred.defer);
  } finally {
    await deferred.run();
  }
}
