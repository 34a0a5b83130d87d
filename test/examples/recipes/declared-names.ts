// @kernia/events 1.0.0: copied from its test/examples/recipes/declared-names.ts
// Needs no Better Auth.

import type { EventHandler, EventPayload, Events } from "@kernia/events";

/**
 * The type of a bus on which a name that is not declared does not compile. It costs nothing at run time.
 *
 * @example
 * ```ts
 * const bus: DeclaredBus = getBus(auth);
 * ```
 */
export interface DeclaredBus {
  on<Name extends keyof Events>(event: Name, handler: Handler<Name>): () => void;
  off<Name extends keyof Events>(event: Name, handler: Handler<Name>): void;
  emit<Name extends keyof Events>(event: Name, payload: EventPayload<Name>): Promise<void>;
}
type Handler<Name extends keyof Events> = EventHandler<EventPayload<Name>>;
