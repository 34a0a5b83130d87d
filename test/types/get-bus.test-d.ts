import { EventBus, getBus, type AuthContext } from "@kernia/events";
import { describe, expectTypeOf, test } from "vitest";

interface KerniaContext {
  options: { baseURL: string };
  pluginState: Record<string, any>;
  secret: string;
}
declare const kernia: KerniaContext;

interface OwnState {
  billing: { plans: number };
  events?: EventBus;
}
declare const own: { readonly pluginState: OwnState };

interface Levels {
  debug: (message: string, ...args: any[]) => void;
  error: (message: string, ...args: any[]) => void;
}
declare const logger: Levels;

describe("getBus accepts", () => {
  test("a fake context", () => {
    expectTypeOf(getBus({ pluginState: {} })).toEqualTypeOf<EventBus>();
    getBus({});
    getBus({ pluginState: undefined });
    getBus({ pluginState: { events: new EventBus() } });
    getBus({ pluginState: {}, logger: { error() {} } });
    getBus({ pluginState: {}, logger: undefined });
  });

  test("Kernia's context", () => {
    getBus(kernia);
  });

  test("a context whose pluginState is an interface of its own", () => {
    getBus(own);
    getBus(own as { readonly pluginState?: OwnState });
    getBus({ pluginState: { billing: 1 } as Record<string, unknown> });
  });

  test("a class instance", () => {
    class State {
      readonly #secret = 1;
      secret = () => this.#secret;
    }
    class Context {
      readonly pluginState = new State();
    }
    getBus(new Context());
  });

  test("a context with a logger of more methods than one", () => {
    getBus({ logger });
    expectTypeOf<{ logger: Levels }>().toExtend<AuthContext>();
  });
});

describe("getBus rejects", () => {
  test("what is not a context", () => {
    const attempts = () => {
      // @ts-expect-error
      getBus("auth");
      // @ts-expect-error
      getBus(null);
      // @ts-expect-error
      getBus();
      // @ts-expect-error
      getBus({ pluginState: "state" });
      // @ts-expect-error
      getBus({ pluginState: {}, logger: {} });
    };
    expectTypeOf(attempts).toBeFunction();
  });

  test("an auth instance in place of its context, and a context that was not awaited", () => {
    const attempts = (auth: { $context: Promise<AuthContext>; handler: () => void }) => {
      // @ts-expect-error
      getBus(auth);
      // @ts-expect-error
      getBus(auth.$context);
    };
    expectTypeOf(attempts).toBeFunction();
  });
});
