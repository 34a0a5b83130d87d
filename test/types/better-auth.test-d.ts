import { getBus, type AuthContext, type EventBus } from "@kernia/events";
import {
  betterAuth,
  type AuthContext as BetterAuthContext,
  type BetterAuthPlugin,
} from "better-auth";
import { createAuthEndpoint } from "better-auth/api";
import { expectTypeOf, test } from "vitest";

test("Better Auth's context is accepted as it is", () => {
  expectTypeOf<BetterAuthContext>().toExtend<AuthContext>();
});

test("in a plugin, getBus takes the context of init and that of a route", () => {
  const plugin = () =>
    ({
      id: "plugin",
      init(auth) {
        expectTypeOf(getBus(auth)).toEqualTypeOf<EventBus>();
      },
      endpoints: {
        route: createAuthEndpoint("/route", { method: "POST" }, async (ctx) => {
          expectTypeOf(getBus(ctx.context)).toEqualTypeOf<EventBus>();
        }),
      },
    }) satisfies BetterAuthPlugin;
  expectTypeOf(plugin()).toExtend<BetterAuthPlugin>();
});

test("outside a plugin, it takes the awaited $context", () => {
  const outside = async () => {
    const auth = betterAuth({});
    getBus(await auth.$context);
  };
  expectTypeOf(outside).toBeFunction();
});
