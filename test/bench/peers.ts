import { EventBus, type MemberEvent } from "@kernia/events";
import Emittery from "emittery";
import EventEmitter3 from "eventemitter3";
import { createHooks } from "hookable";
import mitt from "mitt";
import { createNanoEvents } from "nanoevents";
import { EventEmitter as Tseep } from "tseep";

export type Handler = (payload: MemberEvent) => void | Promise<void>;

export interface Emitter {
  /** Returns a function that unsubscribes. */
  on(event: string, handler: Handler): () => unknown;
  emit(event: string, payload: MemberEvent): unknown;
}

/** Those whose emit awaits no handler. */
export const awaitNothing = ["mitt", "nanoevents", "eventemitter3", "tseep"];
/** Those whose emit is done later even if no handler returns a promise. */
export const awaitAlways = ["hand-written loop", "emittery"];

/**
 * The library first. What creates each is written out rather than shared: V8 optimizes a call for the
 * classes that it has seen there.
 */
export const peers: Record<string, () => Emitter> = {
  "@kernia/events"() {
    const bus = new EventBus();
    return {
      on: (event, handler) => bus.on(event, handler),
      emit: (event, payload) => bus.emit(event, payload),
    };
  },

  "hand-written loop"() {
    const handlersByEvent = new Map<string, Handler[]>();
    return {
      on(event, handler) {
        const handlers = handlersByEvent.get(event) ?? [];
        handlersByEvent.set(event, handlers);
        handlers.push(handler);
        return () => handlers.splice(handlers.indexOf(handler), 1);
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

  emittery() {
    const emitter = new Emittery<Record<string, MemberEvent>>();
    return {
      on: (event, handler) => emitter.on(event, ({ data }) => handler(data)),
      emit: (event, payload) => emitter.emitSerial(event, payload),
    };
  },

  hookable() {
    const hooks = createHooks<Record<string, Handler>>();
    return {
      on: (event, handler) => hooks.hook(event, handler),
      emit: (event, payload) => hooks.callHook(event, payload),
    };
  },

  mitt() {
    const emitter = mitt<Record<string, MemberEvent>>();
    return {
      on(event, handler) {
        emitter.on(event, handler);
        return () => emitter.off(event, handler);
      },
      emit: (event, payload) => emitter.emit(event, payload),
    };
  },

  nanoevents() {
    const emitter = createNanoEvents<Record<string, Handler>>();
    return {
      on: (event, handler) => emitter.on(event, handler),
      emit: (event, payload) => emitter.emit(event, payload),
    };
  },

  eventemitter3() {
    const emitter = new EventEmitter3();
    return {
      on(event, handler) {
        emitter.on(event, handler);
        return () => emitter.off(event, handler);
      },
      emit: (event, payload) => emitter.emit(event, payload),
    };
  },

  tseep() {
    const emitter = new Tseep<Record<string, Handler>>();
    return {
      on(event, handler) {
        emitter.on(event, handler);
        return () => emitter.off(event, handler);
      },
      emit: (event, payload) => emitter.emit(event, payload),
    };
  },
};
