import type { Logger } from "@kernia/events";

/** A logger that keeps the arguments of each call, in order. */
export class CollectingLogger implements Logger {
  readonly logged: unknown[][] = [];

  error(...logged: unknown[]): void {
    this.logged.push(logged);
  }
}
