import type { EventHandler, EventName, EventPayload } from "./events";
import type { Logger } from "./logger";
import { checkType } from "./check-type";
import { isThenable } from "./thenable";

/**
 * An in-process, best-effort event bus. It queues nothing, replays nothing, and never lets a
 * handler's failure reach the emitter or the other handlers.
 */
export interface EventBus {
  /**
   * Subscribes `handler` to `event`. Handlers run in the order in which they were registered; a
   * handler registered twice runs twice; one registered during an emit waits for the next.
   *
   * @returns a function that undoes exactly this registration, in constant time, however often it
   * is called. From then on the handler does not start again, not even in an emit under way.
   * @throws TypeError if `event` is no string or `handler` is no function.
   *
   * @example
   * ```ts
   * const unsubscribe = bus.on("organization.member.added", async ({ organizationId }) => {
   *   await syncSeats(organizationId);
   * });
   * ```
   */
  on<Name extends EventName, Undeclared = unknown>(
    event: Name,
    handler: EventHandler<EventPayload<Name, Undeclared>>,
  ): () => void;

  /**
   * Undoes the earliest registration of `handler` for `event`; if there is none, does nothing. From
   * then on that registration does not start again, not even in an emit under way.
   *
   * @throws TypeError if `event` is no string or `handler` is no function.
   *
   * @example
   * ```ts
   * bus.on("user.deleted", forgetUser);
   * bus.off("user.deleted", forgetUser);
   * ```
   */
  off<Name extends EventName, Undeclared = unknown>(
    event: Name,
    handler: EventHandler<EventPayload<Name, Undeclared>>,
  ): void;

  /**
   * Calls the handlers of `event` with `payload`, one after another, awaiting each that returns a
   * promise before the next starts. The first starts before `emit` returns.
   *
   * A handler that throws or rejects is logged as
   * `logger.error("Event handler failed:", event, error)`, and the next one runs. The payload itself
   * is passed on, neither copied nor frozen nor logged.
   *
   * @returns a promise that is fulfilled once every handler is done, and that never rejects: awaiting
   * it is a choice.
   * @throws TypeError if `event` is no string.
   *
   * @example
   * ```ts
   * await bus.emit("user.deleted", { userId: "u_1", action: "deleted" });
   * ```
   */
  emit<Name extends EventName>(event: Name, payload: EventPayload<Name>): Promise<void>;
}

type Handler = EventHandler<unknown>;

/** One subscription of a handler. It loses it when it is undone, so that emits under way skip it. */
interface Registration {
  handler: Handler | undefined;
}

/** All that is registered for one event. */
interface Registrations extends Set<Registration> {
  /** The same as a list, for emits to go through: made by the first, dropped at the next change. */
  list?: readonly Registration[] | undefined;
}

// The one global that the library uses, typed without a need for DOM or Node types.
declare const console: Logger;

// Shared, so that an emit that awaits nothing costs no promise.
const done = Promise.resolve();

/**
 * Creates a bus. Most plugins want the one that they share, `getBus(auth)`, instead.
 *
 * @param logger - is told of the handlers that failed; the global `console` by default.
 * @throws TypeError if `logger` has no `error` method.
 *
 * @example
 * ```ts
 * const bus = new EventBus();
 * ```
 */
// The type is the interface, not the class, so that private fields do not make it nominal: buses of
// two copies of this package (its ESM and CommonJS types are two) and fakes are assignable to it.
export const EventBus: new (logger?: Logger) => EventBus = class {
  readonly #registrations = new Map<string, Registrations>();
  readonly #logger: Logger;

  constructor(logger: Logger = console) {
    checkType(logger?.error, "function", "logger.error");
    this.#logger = logger;
  }

  on<Name extends EventName, Undeclared>(
    event: Name,
    handler: EventHandler<EventPayload<Name, Undeclared>>,
  ): () => void {
    checkType(event, "string", "event");
    checkType(handler, "function", "handler");
    const registrations: Registrations = this.#registrations.get(event) ?? new Set();
    // The signature ties the handler to the payload of its event; a map of all events cannot.
    const registration: Registration = { handler: handler as Handler };
    this.#registrations.set(event, registrations.add(registration));
    registrations.list = undefined;
    return () => this.#remove(event, registrations, registration);
  }

  off<Name extends EventName, Undeclared>(
    event: Name,
    handler: EventHandler<EventPayload<Name, Undeclared>>,
  ): void {
    checkType(event, "string", "event");
    checkType(handler, "function", "handler");
    const registrations = this.#registrations.get(event);
    if (!registrations) return;
    for (const registration of registrations) {
      if (registration.handler === handler) return this.#remove(event, registrations, registration);
    }
  }

  emit<Name extends EventName>(event: Name, payload: EventPayload<Name>): Promise<void> {
    checkType(event, "string", "event");
    const registrations = this.#registrations.get(event);
    if (!registrations) return done;
    // A change makes a new list, so what is added during an emit waits for the next.
    const list = (registrations.list ??= [...registrations]);
    for (let index = 0; index < list.length; index++) {
      const { handler } = list[index]!;
      try {
        const result = handler?.(payload);
        if (isThenable(result)) return this.#finish(event, payload, list, index, result);
      } catch (error) {
        this.#logFailure(event, error);
      }
    }
    return done;
  }

  /** Goes on with an emit from the handler at `index`, which was called and returned `pending`. */
  async #finish(
    event: string,
    payload: unknown,
    list: readonly Registration[],
    index: number,
    pending: unknown,
  ): Promise<void> {
    for (; index < list.length; index++) {
      const { handler } = list[index]!;
      try {
        const result = pending ?? handler?.(payload);
        pending = undefined;
        if (isThenable(result)) await result;
      } catch (error) {
        this.#logFailure(event, error);
      }
    }
  }

  async #logFailure(event: string, error: unknown): Promise<void> {
    try {
      await this.#logger.error("Event handler failed:", event, error);
    } catch {
      // A logger that throws or rejects stops nothing.
    }
  }

  #remove(event: string, registrations: Registrations, registration: Registration): void {
    if (!registrations.delete(registration)) return;
    registration.handler = registrations.list = undefined;
    // Nothing is kept for a name without handlers.
    if (!registrations.size) this.#registrations.delete(event);
  }
};
