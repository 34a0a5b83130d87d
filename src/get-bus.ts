import { EventBus } from "./event-bus";
import { checkType } from "./check-type";
import type { Logger } from "./logger";

/**
 * What {@link getBus} needs of an auth context. Kernia's and Better Auth's contexts fit as they are;
 * in a unit test, `{ pluginState: {} }` does.
 */
export interface AuthContext {
  /** Where plugins keep what they share. The bus is its `events`; created if it is `undefined`. */
  pluginState?: object | undefined;
  /** Is told of the handlers that failed; the global `console` if there is none. */
  logger?: Logger | undefined;
}

/**
 * Returns the bus at `auth.pluginState.events`, the one that all plugins of this auth context share,
 * and creates it on the first call. A bus that is there already is respected, whoever made it: a
 * subclass, a fake, or the bus of another copy of this package.
 *
 * In a Better Auth or Kernia plugin, call it in `init` with the context that you get there: request
 * contexts are copies that share `pluginState` only once it exists.
 *
 * @throws TypeError if `auth` is no object, or if something that is no bus is in the way; then
 * nothing is overwritten.
 *
 * @example
 * ```ts
 * const auth = { pluginState: {} };
 * getBus(auth).on("user.deleted", ({ userId }) => console.log(userId));
 * await getBus(auth).emit("user.deleted", { userId: "u_1", action: "deleted" });
 * ```
 */
export function getBus(auth: AuthContext): EventBus {
  checkType(auth, "object", "auth");
  const { pluginState = {}, logger }: AuthContext & { pluginState?: Slot | undefined } = auth;
  checkType(pluginState, "object", "auth.pluginState");
  const { events = new EventBus(logger) } = pluginState;
  // By what it can do, not by `instanceof`: another copy of this package has another class.
  for (const method of ["on", "off", "emit"] as const) {
    checkType(events?.[method], "function", `auth.pluginState.events is no bus: ${method}`);
  }
  pluginState.events ??= events;
  auth.pluginState ??= pluginState;
  return events;
}

interface Slot {
  events?: EventBus;
}
