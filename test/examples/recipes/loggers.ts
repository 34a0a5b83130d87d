import type { Logger } from "@kernia/events";
import type { Logger as Pino } from "pino";
import type { Logger as Winston } from "winston";

/** Lets a bus log to pino, whose methods take an object first. */
export const forPino = (pino: Pino): Logger => ({
  error: (message, event, err) => pino.error({ event, err }, message),
});

/** Lets a bus log to winston, which prints an error only as a string. */
export const forWinston = (winston: Winston): Logger => ({
  error: (message, event, error) =>
    winston.error(message, { event, error: error instanceof Error ? error.stack : error }),
});
