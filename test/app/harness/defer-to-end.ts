import { afterAll } from "vitest";
import { Deferred, type Defer } from "./deferred";

/** Called where a test file begins: what its tests and hooks defer runs once they are all done. */
export function deferToEnd(): Defer {
  const deferred = new Deferred();
  afterAll(() => deferred.run());
  return deferred.defer;
}
