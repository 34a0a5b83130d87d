import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { createAuthEndpoint, sessionMiddleware } from "better-auth/api";
import * as z from "zod";

declare global {
  interface KerniaEvents {
    "billing.subscription.started": {
      readonly organizationId: string;
      readonly plan: string;
      readonly seats: number;
    };
  }
}

/** Stands in for a checkout: writes the row of a subscription that was paid, and says so. */
export function checkout() {
  return {
    id: "checkout",
    endpoints: {
      checkout: createAuthEndpoint(
        "/checkout",
        {
          method: "POST",
          use: [sessionMiddleware],
          body: z.object({
            organizationId: z.string(),
            plan: z.string(),
            seats: z.number(),
            stripeSubscriptionId: z.string(),
          }),
        },
        async (ctx) => {
          const { organizationId, plan, seats, stripeSubscriptionId } = ctx.body;
          const subscription = await ctx.context.adapter.create({
            model: "subscription",
            data: {
              referenceId: organizationId,
              plan,
              seats,
              stripeSubscriptionId,
              status: "active",
            },
          });
          await getBus(ctx.context).emit("billing.subscription.started", {
            organizationId,
            plan,
            seats,
          });
          return ctx.json(subscription);
        },
      ),
    },
  } satisfies BetterAuthPlugin;
}
