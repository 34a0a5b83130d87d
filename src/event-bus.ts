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

/** One subscription of a handler. `order` increases, so it tells what came after an emit began. */
interface Registration {
  readonly handler: Handler;
  readonly order: number;
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
  readonly #registrations = new Map<string, Set<Registration>>();
  readonly #logger: Logger;
  #lastOrder = 0;

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
    // The signature ties the handler to the payload of its event; a map of all events cannot.
    const registration = { handler: handler as Handler, order: ++this.#lastOrder };
    const registrations = this.#registrations.get(event) ?? new Set();
    this.#registrations.set(event, registrations.add(registration));
    return () => this.#remove(event, registration);
  }

  off<Name extends EventName, Undeclared>(
    event: Name,
    handler: EventHandler<EventPayload<Name, Undeclared>>,
  ): void {
    checkType(event, "string", "event");
    checkType(handler, "function", "handler");
    for (const registration of this.#registrations.get(event) ?? []) {
      if (registration.handler === handler) return this.#remove(event, registration);
    }
  }

  emit<Name extends EventName>(event: Name, payload: EventPayload<Name>): Promise<void> {
    checkType(event, "string", "event");
    const remaining = this.#registrations.get(event)?.values();
    if (!remaining) return done;
    const last = this.#lastOrder;
    const pending = this.#advance(event, payload, remaining, last);
    return pending ? this.#finish(event, payload, remaining, last, pending) : done;
  }

  /** Calls handlers until one returns something to await, and returns that. */
  #advance(
    event: string,
    payload: unknown,
    remaining: Iterable<Registration>,
    last: number,
  ): PromiseLike<unknown> | undefined {
    for (const { handler, order } of remaining) {
      if (order > last) return;
      try {
        const result = handler(payload);
        if (isThenable(result)) return result;
      } catch (error) {
        this.#logFailure(event, error);
      }
    }
  }

  async #finish(
    event: string,
    payload: unknown,
    remaining: Iterable<Registration>,
    last: number,
    pending: PromiseLike<unknown> | undefined,
  ): Promise<void> {
    while (pending) {
      try {
        await pending;
      } catch (error) {
        this.#logFailure(event, error);
      }
      pending = this.#advance(event, payload, remaining, last);
    }
  }

  async #logFailure(event: string, error: unknown): Promise<void> {
    try {
      const logged = this.#logger.error("Event handler failed:", event, error);
      if (isThenable(logged)) await logged;
    } catch {
      // A logger that throws or rejects stops nothing.
    }
  }

  #remove(event: string, registration: Registration): void {
    const registrations = this.#registrations.get(event);
    // Nothing is kept for a name without handlers.
    if (registrations?.delete(registration) && !registrations.size)
      this.#registrations.delete(event);
  }
};
