import type { BetterAuthPlugin } from "better-auth";
import { createAuthEndpoint } from "better-auth/api";
import * as z from "zod";

/** Stands in for a checkout: the row that a Stripe plugin writes once a subscription was paid. */
export function checkout() {
  return {
    id: "checkout",
    endpoints: {
      checkout: createAuthEndpoint(
        "/checkout",
        {
          method: "POST",
          body: z.object({
            plan: z.string(),
            referenceId: z.string(),
            stripeSubscriptionId: z.string(),
            status: z.string(),
            seats: z.number(),
          }),
        },
        async (ctx) =>
          ctx.json(await ctx.context.adapter.create({ model: "subscription", data: ctx.body })),
      ),
    },
  } satisfies BetterAuthPlugin;
}
