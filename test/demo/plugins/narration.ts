import { AsyncLocalStorage } from "node:async_hooks";
import {
  EventBus,
  type EventHandler,
  type EventName,
  type EventPayload,
  type Logger,
} from "@kernia/events";
import type { BetterAuthOptions, BetterAuthPlugin } from "better-auth";

/** What happened while a request was served. */
export type Happening =
  | { readonly kind: "event"; readonly name: string; readonly payload: unknown }
  | { readonly kind: "handler"; readonly name: string; readonly failure?: unknown }
  | { readonly kind: "log"; readonly text: string };

/** Keeps what happens in the async context of each request. */
export class Narration {
  readonly #request = new AsyncLocalStorage<Happening[]>();

  /** Runs `serve`, and adds to `happenings` what happens meanwhile, and only in there. */
  during<Result>(happenings: Happening[], serve: () => Result): Result {
    return this.#request.run(happenings, serve);
  }

  add(happening: Happening): void {
    this.#request.getStore()?.push(happening);
  }

  /** Comes before the plugins that it tells of: `getBus` respects the bus that it puts there. */
  plugin(): BetterAuthPlugin {
    return {
      id: "narration",
      init: (auth) => ({
        context: { pluginState: { events: new NarratedBus(this, auth.logger) } },
      }),
    };
  }

  logger(): BetterAuthOptions["logger"] {
    return {
      log: (level, message, ...details: unknown[]) =>
        this.add({
          kind: "log",
          text: [level.toUpperCase(), message, ...details.map(String)].join(" "),
        }),
    };
  }
}

class NarratedBus extends EventBus {
  readonly #narration: Narration;

  constructor(narration: Narration, logger: Logger) {
    super(logger);
    this.#narration = narration;
  }

  override on<Name extends EventName, Undeclared = unknown>(
    event: Name,
    handler: EventHandler<EventPayload<Name, Undeclared>>,
  ): () => void {
    const { name } = handler;
    return super.on<Name, Undeclared>(event, async (payload) => {
      try {
        await handler(payload);
        this.#narration.add({ kind: "handler", name });
      } catch (failure) {
        this.#narration.add({ kind: "handler", name, failure });
        throw failure;
      }
    });
  }

  override emit<Name extends EventName>(event: Name, payload: EventPayload<Name>): Promise<void> {
    this.#narration.add({ kind: "event", name: event, payload });
    return super.emit(event, payload);
  }
}
