import type { EventName, EventPayload } from "./events";
import { checkType } from "./check-type";

/**
 * An in-process, best-effort event bus. It queues nothing, replays nothing, and never lets a
 * handler's failure reach the emitter or the other handlers.
 */
export interface EventBus {
  /**
   * Subscribes `handler` to `event`. Handlers run in the order in which they were registered; a
   * handler registered twice runs twice; one registered during an emit waits for the next.
   *
   * @param event - the name of the event, any string.
   * @param handler - is called with the payload of each emit; its errors are logged.
   * @returns a function that removes exactly this registration, in constant time; calling it again
   * does nothing. From then on the handler does not start again, not even in an emit under way.
   * @throws TypeError if `event` is not a string or `handler` is not a function.
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
   * Removes the earliest registration of `handler` for `event`; if there is none, does nothing. From
   * then on that registration does not start again, not even in an emit under way.
   *
   * @param event - the name of the event that the handler was registered for.
   * @param handler - the very function that was registered.
   * @throws TypeError if `event` is not a string or `handler` is not a function.
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
   * `logger.error("Event handler failed:", event, error)`, and the next one runs. That is done from a
   * microtask: after the handlers that follow without being awaited, before an `await` of this emit
   * continues.
   *
   * @param event - the name of the event, any string.
   * @param payload - is passed on to the handlers as it is: neither copied nor frozen nor logged.
   * @returns a promise that is fulfilled once every handler is done, and that never rejects: awaiting
   * it is optional.
   * @throws TypeError if `event` is not a string.
   *
   * @example
   * ```ts
   * await bus.emit("user.deleted", { userId: "u_1", action: "deleted" });
   * ```
   */
  emit<Name extends EventName>(event: Name, payload: EventPayload<Name>): Promise<void>;
}

/**
 * Is called with the payload and nothing else, and awaited if it returns a promise (or any
 * thenable). What it returns or resolves to is ignored.
 */
export type EventHandler<Payload> = (payload: Payload) => unknown;

/**
 * Where a bus reports the handlers that failed. The global `console` and Better Auth's logger fit as
 * they are; a logger whose `error` takes other arguments, as those of pino and winston do, needs adapting.
 */
export interface Logger {
  /**
   * @param message - always `"Event handler failed:"`.
   * @param details - the name of the event, then what the handler threw.
   * @returns anything; it is not awaited, and neither an error nor a rejection stops anything.
   */
  error(message: string, ...details: unknown[]): unknown;
}

/** A handler, as far as the bus knows it: what it returns is awaited if it has a `then` method. */
type Handler = (payload: never) => { readonly then?: unknown } | null | undefined;

/** One subscription. Its handler is cleared when it is removed, so that emits under way skip it. */
interface Registration {
  handler: Handler | undefined;
}

/** All that was registered for one event. */
interface Registrations {
  /**
   * In order, removed ones included, until a list without them takes its place. It only ever grows,
   * so an emit needs no copy: the list and its length are enough.
   */
  list: Registration[];
  /** How many on the list were removed. */
  removed: number;
}

// The one global that the library uses, typed without a need for DOM or Node types.
declare const console: Logger;

// Shared, so that an emit that awaits nothing costs no promise.
const done = Promise.resolve();

/**
 * Creates a bus. Most plugins want the one that they share, `getBus(auth)`, instead.
 *
 * @param logger - receives every failure of a handler; the global `console` by default.
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

  on(event: string, handler: EventHandler<never>): () => void {
    checkType(event, "string", "event");
    checkType(handler, "function", "handler");
    // It may return anything; the only thing that is ever read of that is `then`.
    const registration: Registration = { handler: handler as Handler };
    let registrations = this.#registrations.get(event);
    if (registrations) registrations.list.push(registration);
    // Begun with the first registration, and not empty, a list has no room to spare.
    else this.#registrations.set(event, (registrations = { list: [registration], removed: 0 }));
    return () => this.#remove(event, registrations, registration);
  }

  off(event: string, handler: EventHandler<never>): void {
    checkType(event, "string", "event");
    checkType(handler, "function", "handler");
    const registrations = this.#registrations.get(event);
    const registration = registrations?.list.find((each) => each.handler === handler);
    this.#remove(event, registrations!, registration);
  }

  emit(event: string, payload: never): Promise<void> {
    checkType(event, "string", "event");
    const list = this.#registrations.get(event)?.list;
    if (!list) return done;
    // What is added during the emit lies beyond this length, and so waits for the next.
    const length = list.length;
    for (let index = 0; index < length; index++) {
      const { handler } = list[index]!;
      try {
        const result = handler?.(payload);
        if (typeof result?.then === "function") {
          return this.#finish(event, payload, list, length, index, result);
        }
      } catch (error) {
        this.#logFailure(event, error);
      }
    }
    return done;
  }

  /**
   * Goes on with an emit from the handler at `index`, which was called and returned `pending`.
   *
   * The loop is written twice, because one loop for both is worse: if it returns an object for each promise
   * to go on from, async handlers are slower than in a loop written by hand; if it takes one for each emit,
   * the package is 40 bytes larger.
   */
  async #finish(
    event: string,
    payload: never,
    list: readonly Registration[],
    length: number,
    index: number,
    pending: ReturnType<Handler>,
  ): Promise<void> {
    for (; index < length; index++) {
      const { handler } = list[index]!;
      try {
        const result = pending ?? handler?.(payload);
        pending = undefined;
        if (typeof result?.then === "function") await result;
      } catch (error) {
        this.#logFailure(event, error);
      }
    }
  }

  #logFailure(event: string, error: unknown): void {
    // From a microtask: the handler may have overflowed the stack, and left the logger no room.
    const logged = done.then(() => this.#logger.error("Event handler failed:", event, error));
    // A logger that throws or rejects stops nothing.
    void logged.then(undefined, () => {});
  }

  #remove(event: string, registrations: Registrations, registration?: Registration): void {
    if (!registration?.handler) return;
    registration.handler = undefined;
    // When most of a list is removed, a copy without it takes its place: in constant time on average.
    if (++registrations.removed * 2 > registrations.list.length) {
      registrations.list = registrations.list.filter((each) => each.handler);
      registrations.removed = 0;
      // Nothing is kept for a name without handlers.
      if (!registrations.list.length) this.#registrations.delete(event);
    }
  }
};
