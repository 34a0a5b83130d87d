import { afterAll } from "vitest";
import type { Defer } from "./cleanup";

/** Made where a test file begins: what any of its tests or hooks defers is done at its end, last first. */
export function deferToEnd(): Defer {
  const deferred: (() => unknown)[] = [];
  afterAll(async () => {
    for (let next = deferred.pop(); next; next = deferred.pop()) await next();
  });
  return (cleanUp) => deferred.push(cleanUp);
}
