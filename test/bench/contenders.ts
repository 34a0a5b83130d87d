import { EventBus } from "@kernia/events";
import Emittery from "emittery";
import EventEmitter3 from "eventemitter3";
import { createHooks } from "hookable";
import mitt from "mitt";
import { createNanoEvents } from "nanoevents";
import tapable from "tapable";
import { EventEmitter as Tseep } from "tseep";

export interface Payload {
  readonly organizationId: string;
  readonly userId: string;
  readonly role: string;
  readonly action: string;
}

export type Handler = (payload: Payload) => unknown;

export interface Emitter {
  /** Subscribes, and returns what unsubscribes, if the contender can. */
  on(event: string, handler: Handler): (() => void) | undefined;
  /** Returns a promise if the handlers are not all done yet. */
  emit(event: string, payload: Payload): unknown;
}

export interface Contender {
  readonly name: string;
  /** The npm package, if it is one. */
  readonly package?: string;
  /** What it does not promise. */
  readonly lacks?: string;
  /** What a user imports; its size is measured. */
  readonly imports?: string;
  readonly handles: readonly ("sync" | "async")[];
  /** Whether sync handlers are all done when its emit returns, so that nothing need be awaited. */
  readonly doneOnReturn: boolean;
  readonly unsubscribes: boolean;
  create(): Emitter;
}

const both = ["sync", "async"] as const;

export const library: Contender = {
  name: "@kernia/events",
  package: "@kernia/events",
  imports: `export { EventBus, getBus } from "@kernia/events"`,
  handles: both,
  doneOnReturn: true,
  unsubscribes: true,
  create() {
    const bus = new EventBus();
    return {
      on: (event, handler) => bus.on(event, handler),
      emit: (event, payload) => bus.emit(event, payload),
    };
  },
};

/** What a plugin author would write by hand. */
export const loop: Contender = {
  name: "hand-written loop",
  lacks: "no unsubscribing",
  handles: both,
  doneOnReturn: false,
  unsubscribes: false,
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
};

export const emittery: Contender = {
  name: "emittery",
  package: "emittery",
  lacks: "no isolation",
  imports: `export { default } from "emittery"`,
  handles: both,
  doneOnReturn: false,
  unsubscribes: true,
  create() {
    const emitter = new Emittery<Record<string, Payload>>();
    return {
      on: (event, handler) => emitter.on(event, ({ data }) => handler(data) as void),
      emit: (event, payload) => emitter.emitSerial(event, payload),
    };
  },
};

export const hookable: Contender = {
  name: "hookable",
  package: "hookable",
  lacks: "no isolation",
  imports: `export { createHooks } from "hookable"`,
  handles: both,
  doneOnReturn: true,
  unsubscribes: true,
  create() {
    const hooks = createHooks<Record<string, (payload: Payload) => void>>();
    return {
      on: (event, handler) => hooks.hook(event, handler as (payload: Payload) => void),
      emit: (event, payload) => hooks.callHook(event, payload),
    };
  },
};

export const tapableSeries: Contender = {
  name: "tapable",
  package: "tapable",
  lacks: "no isolation, no unsubscribing",
  imports: `export { AsyncSeriesHook } from "tapable"`,
  handles: both,
  doneOnReturn: true,
  unsubscribes: false,
  create() {
    const createHook = () => new tapable.AsyncSeriesHook<[Payload]>(["payload"]);
    const hooks = new Map<string, ReturnType<typeof createHook>>();
    const empty = createHook();
    return {
      on(event, handler) {
        const hook = hooks.get(event) ?? createHook();
        hooks.set(event, hook);
        // A handler says with `async` which way of tapping it needs.
        if (handler.constructor.name === "AsyncFunction") {
          hook.tapPromise(event, async (payload) => void (await handler(payload)));
        } else hook.tap(event, (payload) => void handler(payload));
        return undefined;
      },
      emit: (event, payload) => (hooks.get(event) ?? empty).promise(payload),
    };
  },
};

export const mittEmitter: Contender = {
  name: "mitt",
  package: "mitt",
  lacks: "no awaiting, no isolation",
  imports: `export { default } from "mitt"`,
  handles: ["sync"],
  doneOnReturn: true,
  unsubscribes: true,
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
};

export const nanoevents: Contender = {
  name: "nanoevents",
  package: "nanoevents",
  lacks: "no awaiting, no isolation",
  imports: `export { createNanoEvents } from "nanoevents"`,
  handles: ["sync"],
  doneOnReturn: true,
  unsubscribes: true,
  create() {
    const emitter = createNanoEvents<Record<string, (payload: Payload) => void>>();
    return {
      on: (event, handler) => emitter.on(event, handler),
      emit: (event, payload) => emitter.emit(event, payload),
    };
  },
};

export const eventEmitter3: Contender = {
  name: "eventemitter3",
  package: "eventemitter3",
  lacks: "no awaiting, no isolation",
  imports: `export { default } from "eventemitter3"`,
  handles: ["sync"],
  doneOnReturn: true,
  unsubscribes: true,
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
};

export const tseep: Contender = {
  name: "tseep",
  package: "tseep",
  lacks: "no awaiting, no isolation; needs eval",
  imports: `export { EventEmitter } from "tseep"`,
  handles: ["sync"],
  doneOnReturn: true,
  unsubscribes: true,
  create() {
    const emitter = new Tseep<Record<string, (payload: Payload) => void>>();
    return {
      on(event, handler) {
        emitter.on(event, handler);
        return () => void emitter.off(event, handler);
      },
      emit: (event, payload) => void emitter.emit(event, payload),
    };
  },
};

export const contenders: readonly Contender[] = [
  library,
  loop,
  emittery,
  hookable,
  tapableSeries,
  mittEmitter,
  nanoevents,
  eventEmitter3,
  tseep,
];
