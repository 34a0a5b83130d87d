/** Where a bus reports the handlers that failed. The global `console` and most loggers are one. */
export interface Logger {
  error(message: string, ...details: unknown[]): unknown;
}
