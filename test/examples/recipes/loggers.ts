// @kernia/events 1.0.0: copied from its test/examples/recipes/loggers.ts
// Needs Better Auth 1.3.34 or newer, or none: it also fits `new EventBus(logger)` and the worker of the
// outbox.

import { inspect } from "node:util";
import type { Logger } from "@kernia/events";

type Level = "debug" | "info" | "warn" | "error";
/** The methods that are called; so neither package has to be installed for the other. */
type Pino = Record<Level, (details: object, message: string) => unknown>;
type Winston = Record<Level, (message: string, details: object) => unknown>;

/** A logger for Better Auth, and for this library. */
export interface AuthLogger extends Logger {
  /** Better Auth passes all messages on, so that the level of pino or winston decides. */
  readonly level: "debug";
  log(level: Level, message: string, ...details: unknown[]): void;
}

/**
 * Lets Better Auth and a bus log to pino, whose methods take an object first.
 *
 * @example
 * ```ts
 * const auth = betterAuth({ logger: forPino(pino()) });
 * ```
 */
export const forPino = (pino: Pino): AuthLogger =>
  loggerOf((level, message, details) => {
    const err = details.find((detail) => detail instanceof Error);
    pino[level]({ err, details: details.filter((detail) => detail !== err) }, message);
  });

/** Lets Better Auth and a bus log to winston, which prints an error only as a string. */
export const forWinston = (winston: Winston): AuthLogger =>
  loggerOf((level, message, details) => {
    const texts = details.map((detail) => (detail instanceof Error ? inspect(detail) : detail));
    winston[level](message, { details: texts });
  });

function loggerOf(write: (level: Level, message: string, details: unknown[]) => void): AuthLogger {
  return {
    level: "debug",
    log: (level, message, ...details) => write(level, message, details),
    error: (message, ...details) => write("error", message, details),
  };
}
