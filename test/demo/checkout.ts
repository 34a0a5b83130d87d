import { stripe, type StripeOptions, type SubscriptionOptions } from "@better-auth/stripe";
import { getBus, type AuthContext } from "@kernia/events";
import { stripeWebhookSecret, teamPlan } from "../fixtures/stripe-server";

type SubscriptionStarted = Readonly<{ organizationId: string; plan: string; seats: number }>;

declare global {
  interface KerniaEvents {
    "billing.subscription.started": SubscriptionStarted;
  }
}

/** Better Auth's Stripe plugin; its callbacks emit what Stripe says, on the bus of that context. */
export function checkout(
  stripeClient: StripeOptions["stripeClient"],
  context: () => Promise<AuthContext>,
  plans: SubscriptionOptions["plans"] = [teamPlan],
) {
  async function recountSeats({ subscription }: { subscription: { referenceId: string } }) {
    const organizationId = subscription.referenceId;
    await getBus(await context()).emit("billing.subscription.changed", { organizationId });
  }
  return stripe({
    stripeClient,
    stripeWebhookSecret,
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
