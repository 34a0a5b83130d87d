// Needs no Better Auth.

import type { Logger } from "@kernia/events";

/**
 * A logger that keeps what handlers threw, so that a test can expect that nothing was. One that throws
 * would not do: what a logger throws stops nothing either.
 */
export class CollectedFailures implements Logger {
  readonly failures: { event: unknown; error: unknown }[] = [];

  error(_message: string, event: unknown, error: unknown): void {
    this.failures.push({ event, error });
  }
}
