// @kernia/events 1.0.0: copied from its test/examples/stripe-webhook.ts
// Needs Better Auth 1.3.34 or newer, a Stripe SDK from 17 to 23, and `seat-sync.ts`, whose table it fills.

import { getBus } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";
import { APIError, createAuthEndpoint } from "better-auth/api";
import type Stripe from "stripe";

/**
 * Keeps a row in `subscription` for each Stripe subscription whose metadata names an organization of this
 * database, and has its seats recounted. Without `@better-auth/stripe`, which does the same. Register
 * `/api/auth/stripe/webhook` at Stripe for `customer.subscription.created`, `.updated` and `.deleted`.
 *
 * Deliveries may be late, repeated or in the wrong order, so Stripe is asked for the subscription as it is
 * now. What fails is answered with an error, and Stripe delivers it again: as the second of two that
 * create a row at the same time, for `stripeSubscriptionId` is unique.
 *
 * @throws Error if there is no secret, for then anybody could sign.
 */
export function stripeWebhook({ stripe, secret }: StripeWebhookOptions): {
  id: "stripe-webhook";
  endpoints: { stripeWebhook: (BetterAuthPlugin["endpoints"] & {})[string] };
} {
  if (!secret) throw new Error("stripeWebhook() needs the secret of the webhook at Stripe");
  // The signature is that of the body as it was sent.
  const options = { method: "POST", disableBody: true, cloneRequest: true } as const;
  const endpoint = createAuthEndpoint("/stripe/webhook", options, async (ctx) => {
    const signature = ctx.request?.headers.get("stripe-signature") ?? "";
    const body = (await ctx.request?.text()) ?? "";
    const event = await stripe.webhooks.constructEventAsync(body, signature, secret).catch(() => {
      throw new APIError("BAD_REQUEST", { message: "The webhook is not signed by Stripe" });
    });
    switch (event.type) {
      case "customer.subscription.created":
      case "customer.subscription.updated":
      case "customer.subscription.deleted":
        await save(event.data.object.id, ctx.context);
    }
    return ctx.json({ received: true });
  });
  return { id: "stripe-webhook", endpoints: { stripeWebhook: endpoint } };

  /** Creates or updates the row of a subscription, unless nothing shows that it is one of an organization here. */
  async function save(id: string, context: AuthContext): Promise<void> {
    const { adapter, logger } = context;
    const { status, metadata } = await stripe.subscriptions.retrieve(id);
    const { organizationId = "", plan } = metadata;
    const model = "subscription";
    const where = [{ field: "stripeSubscriptionId", value: id }];
    const row = await adapter.findOne<{ id: string; referenceId: string }>({ model, where });
    const organization = { model: "organization", where: [{ field: "id", value: organizationId }] };
    const current = { status, ...(plan && { plan }) };
    if (row) {
      await adapter.update({ model, where: [{ field: "id", value: row.id }], update: current });
    } else if (organizationId && (await adapter.count(organization)) > 0) {
      // Without the name of a plan, the seats that it has are kept right, and none are added.
      const data = { plan: "", ...current, referenceId: organizationId, stripeSubscriptionId: id };
      await adapter.create({ model, data });
    } else {
      return logger.warn(`Stripe's ${id} is left alone: its metadata names no organization here`);
    }
    // Deliveries overlap: whoever writes last must have the last answer.
    const { status: next } = await stripe.subscriptions.retrieve(id);
    if (next !== status) return save(id, context);
    const changed = { organizationId: row?.referenceId ?? organizationId };
    await getBus(context).emit("billing.subscription.changed", changed);
  }
}

export interface StripeWebhookOptions {
  readonly stripe: Pick<Stripe, "subscriptions" | "webhooks">;
  /** The signing secret of this webhook at Stripe, `whsec_…`. */
  readonly secret: string;
}
