// @kernia/events 1.0.0: copied from its test/examples/recipes/failures.ts
// Needs no Better Auth.

import type { Logger } from "@kernia/events";

/**
 * A logger that keeps the errors of handlers, so that a test can expect that there were none. A logger
 * that throws would not fail the test: the bus ignores errors of its logger.
 */
export class CollectedFailures implements Logger {
  readonly failures: { event: unknown; error: unknown }[] = [];

  error(_message: string, event: unknown, error: unknown): void {
    this.failures.push({ event, error });
  }
}
