import { EventBus, type MemberEvent } from "@kernia/events";
import Emittery from "emittery";
import EventEmitter3 from "eventemitter3";
import { createHooks } from "hookable";
import mitt from "mitt";
import { createNanoEvents } from "nanoevents";
import { EventEmitter as Tseep } from "tseep";

export type Payload = MemberEvent;
export type Handler = (payload: Payload) => unknown;
type SyncHandler = (payload: Payload) => void;

export interface Emitter {
  /** Subscribes, and returns a function that unsubscribes, if the contender can. */
  on(event: string, handler: Handler): (() => void) | undefined;
  /** Returns a promise if the handlers are not all done yet. */
  emit(event: string, payload: Payload): unknown;
}

export interface Contender {
  readonly name: string;
  /** What a user imports from the package; its size is measured. */
  readonly imports?: string;
  /** Its emit awaits no handler. */
  readonly awaitsNothing?: true;
  /** Its emit returns a promise also when no handler does. */
  readonly alwaysAwaited?: true;
  readonly cannotUnsubscribe?: true;
  create(): Emitter;
}

/**
 * The library first. What creates each is written out rather than shared: V8 optimizes a call for the
 * classes that it has seen there.
 */
export const contenders: readonly Contender[] = [
  {
    name: "@kernia/events",
    imports: "EventBus, getBus",
    create() {
      const bus = new EventBus();
      return {
        on: (event, handler) => bus.on(event, handler),
        emit: (event, payload) => bus.emit(event, payload),
      };
    },
  },
  {
    name: "hand-written loop",
    alwaysAwaited: true,
    cannotUnsubscribe: true,
    create() {
      const handlersByEvent = new Map<string, Handler[]>();
      return {
        on(event, handler) {
          const handlers = handlersByEvent.get(event);
          if (handlers) handlers.push(handler);
          else handlersByEvent.set(event, [handler]);
          return undefined;
        },
        async emit(event, payload) {
          for (const handler of handlersByEvent.get(event) ?? []) {
            try {
              await handler(payload);
            } catch (error) {
              console.error("Event handler failed:", event, error);
            }
          }
        },
      };
    },
  },
  {
    name: "emittery",
    imports: "default",
    alwaysAwaited: true,
    create() {
      const emitter = new Emittery<Record<string, Payload>>();
      return {
        on: (event, handler) => emitter.on(event, ({ data }) => handler(data) as void),
        emit: (event, payload) => emitter.emitSerial(event, payload),
      };
    },
  },
  {
    name: "hookable",
    imports: "createHooks",
    create() {
      const hooks = createHooks<Record<string, SyncHandler>>();
      return {
        on: (event, handler) => hooks.hook(event, handler as SyncHandler),
        emit: (event, payload) => hooks.callHook(event, payload),
      };
    },
  },
  {
    awaitsNothing: true,
    name: "mitt",
    imports: "default",
    create() {
      const emitter = mitt<Record<string, Payload>>();
      return {
        on(event, handler) {
          emitter.on(event, handler);
          return () => emitter.off(event, handler);
        },
        emit: (event, payload) => emitter.emit(event, payload),
      };
    },
  },
  {
    awaitsNothing: true,
    name: "nanoevents",
    imports: "createNanoEvents",
    create() {
      const emitter = createNanoEvents<Record<string, SyncHandler>>();
      return {
        on: (event, handler) => emitter.on(event, handler),
        emit: (event, payload) => emitter.emit(event, payload),
      };
    },
  },
  {
    awaitsNothing: true,
    name: "eventemitter3",
    imports: "default",
    create() {
      const emitter = new EventEmitter3();
      return {
        on(event, handler) {
          emitter.on(event, handler);
          return () => void emitter.off(event, handler);
        },
        emit: (event, payload) => void emitter.emit(event, payload),
      };
    },
  },
  {
    awaitsNothing: true,
    name: "tseep",
    imports: "EventEmitter",
    create() {
      const emitter = new Tseep<Record<string, SyncHandler>>();
      return {
        on(event, handler) {
          emitter.on(event, handler);
          return () => void emitter.off(event, handler);
        },
        emit: (event, payload) => void emitter.emit(event, payload),
      };
    },
  },
];
