import { EventBus, type Logger } from "./event-bus";
import { checkType } from "./check-type";

/**
 * What {@link getBus} needs of an auth context. Kernia's and Better Auth's contexts fit as they are;
 * in a unit test, `{ pluginState: {} }` does.
 */
export interface AuthContext {
  /** Where plugins keep what they share. The bus is its `events`; created if it is `undefined`. */
  pluginState?: object | undefined;
  /** Receives every failure of a handler; the global `console` if there is none. */
  logger?: Logger | undefined;
}

/**
 * Returns the bus at `auth.pluginState.events`, the one that all plugins of this auth context share,
 * and creates it on the first call. A bus that is already there is respected: a subclass, a fake, or
 * the bus of another copy of this package.
 *
 * In a Better Auth or Kernia plugin, call it in `init` with the context that you get there: request
 * contexts are copies that share `pluginState` only once it exists.
 *
 * @param auth - the auth context, whose logger the bus reports to; the global `console` if it has none.
 * @returns the one bus of that context.
 * @throws TypeError if `auth` is not an object, if it is a promise or has a `$context`, as what
 * `betterAuth()` returns has, or if `auth.pluginState.events` is something that is not a bus; then
 * nothing is overwritten.
 *
 * @example
 * ```ts
 * const auth = { pluginState: {} };
 * getBus(auth).on("user.deleted", ({ userId }) => console.log(userId));
 * await getBus(auth).emit("user.deleted", { userId: "u_1", action: "deleted" });
 * ```
 */
export function getBus(auth: AuthContext): EventBus;
export function getBus(auth: GivenAuth): EventBus {
  checkType(auth, "object", "auth");
  // A bus in these places would have no subscribers: the plugins get the context.
  if (typeof auth.then === "function" || auth.$context) {
    throw new TypeError("auth is not a context: pass await auth.$context");
  }
  const { pluginState = {}, logger } = auth;
  checkType(pluginState, "object", "auth.pluginState");
  const { events = new EventBus(logger) } = pluginState;
  // By what it can do, not by `instanceof`: another copy of this package has another class.
  for (const method of ["on", "off", "emit"] as const) {
    checkType(events?.[method], "function", `auth.pluginState.events.${method}`);
  }
  pluginState.events ??= events;
  auth.pluginState ??= pluginState;
  return events;
}

/** All that {@link getBus} looks at, of whatever it is given. */
interface GivenAuth extends AuthContext {
  pluginState?: { events?: EventBus } | undefined;
  then?: unknown;
  $context?: unknown;
}
