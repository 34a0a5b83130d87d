import { AsyncLocalStorage } from "node:async_hooks";
import { EventBus, type EventHandler, type EventName, type EventPayload } from "@kernia/events";
import type { BetterAuthOptions, BetterAuthPlugin } from "better-auth";

/** What happened while a request was served. */
export type Entry =
  | { readonly kind: "event"; readonly name: string; readonly payload: unknown }
  | { readonly kind: "done" | "failed"; readonly name: string }
  | { readonly kind: "log"; readonly text: string };

/** Records events, handlers and log messages for the request in whose async context they are. */
export class RequestLog {
  readonly #entries = new AsyncLocalStorage<Entry[]>();

  /** Runs `serve`, and adds its entries. */
  record<Result>(entries: Entry[], serve: () => Result): Result {
    return this.#entries.run(entries, serve);
  }

  /** Has to come before the plugins that use the bus. */
  plugin(): BetterAuthPlugin {
    const add = (entry: Entry) => this.#entries.getStore()?.push(entry);

    class RecordingBus extends EventBus {
      override on<Name extends EventName, Undeclared = unknown>(
        event: Name,
        handler: EventHandler<EventPayload<Name, Undeclared>>,
      ): () => void {
        const { name } = handler;
        return super.on<Name, Undeclared>(event, async (payload) => {
          try {
            await handler(payload);
            add({ kind: "done", name });
          } catch (error) {
            add({ kind: "failed", name });
            throw error;
          }
        });
      }

      override emit<Name extends EventName>(name: Name, payload: EventPayload<Name>) {
        add({ kind: "event", name, payload });
        return super.emit(name, payload);
      }
    }

    return {
      id: "request-log",
      init: ({ logger }) => ({ context: { pluginState: { events: new RecordingBus(logger) } } }),
    };
  }

  logger(): BetterAuthOptions["logger"] {
    return {
      log: (level, ...message: unknown[]) => {
        const text = [level.toUpperCase(), ...message.map(String)].join(" ");
        this.#entries.getStore()?.push({ kind: "log", text });
      },
    };
  }
}
