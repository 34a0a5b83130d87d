import { stripe, type StripeOptions, type SubscriptionOptions } from "@better-auth/stripe";
import { getBus, type AuthContext } from "@kernia/events";
import { teamPlan, webhookSecret } from "../fixtures/stripe-server";

declare global {
  interface KerniaEvents {
    "billing.subscription.started": {
      readonly organizationId: string;
      readonly plan: string;
      readonly seats: number;
    };
  }
}

export interface CheckoutOptions {
  stripeClient: StripeOptions["stripeClient"];
  plans?: SubscriptionOptions["plans"];
  /** The context of the auth that this becomes a part of. */
  context: () => Promise<AuthContext>;
}

/** Better Auth's Stripe plugin; its callbacks emit what Stripe says. */
export function checkout({ stripeClient, plans = [teamPlan], context }: CheckoutOptions) {
  async function recountSeats({ subscription }: { subscription: { referenceId: string } }) {
    const organizationId = subscription.referenceId;
    await getBus(await context()).emit("billing.subscription.changed", { organizationId });
  }
  return stripe({
    stripeClient,
    stripeWebhookSecret: webhookSecret,
    organization: { enabled: true },
    subscription: {
      enabled: true,
      plans,
      authorizeReference: async () => true,
      async onSubscriptionComplete({ subscription }) {
        const { referenceId: organizationId, plan, seats = 1 } = subscription;
        const started = { organizationId, plan, seats };
        await getBus(await context()).emit("billing.subscription.started", started);
        await recountSeats({ subscription });
      },
      onSubscriptionCreated: recountSeats,
      onSubscriptionUpdate: recountSeats,
    },
  });
}
