import { EventBus, getBus, type AuthContext } from "@kernia/events";
import { expectTypeOf, test } from "vitest";

interface KerniaContext {
  options: { baseURL: string };
  pluginState: Record<string, any>;
  logger: { error: (message: string, ...args: any[]) => void; level: string };
}
interface OwnState {
  billing: { plans: number };
  events?: EventBus;
}
declare const kernia: KerniaContext;
declare const own: { readonly pluginState?: OwnState };
declare const auth: { $context: Promise<AuthContext>; handler: () => void };

test("getBus accepts a fake context, Kernia's, and one with a pluginState of its own type", () => {
  expectTypeOf(getBus({ pluginState: {} })).toEqualTypeOf<EventBus>();
  getBus({});
  getBus({ pluginState: undefined, logger: undefined });
  getBus({ pluginState: { events: new EventBus() }, logger: { error() {} } });
  getBus(kernia);
  getBus(own);
});

test("getBus rejects what is not a context, and one that was not awaited", () => {
  expectTypeOf(getBus).parameter(0).toEqualTypeOf<AuthContext>();
  const attempts = () => {
    // @ts-expect-error
    getBus("auth");
    // @ts-expect-error
    getBus({ pluginState: "state" });
    // @ts-expect-error
    getBus({ pluginState: {}, logger: {} });
    // @ts-expect-error
    getBus(auth);
    // @ts-expect-error
    getBus(auth.$context);
  };
  expectTypeOf(attempts).toBeFunction();
});
