import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import type pg from "pg";
import { publish } from "../examples/outbox/publish";
import { startAuthServer } from "../fixtures/auth-server";
import { connectToParent } from "../fixtures/child";
import { tables } from "../fixtures/outbox";
import { seatPriceId, stripeClient, teamPlan } from "../fixtures/stripe-server";
import { createPool } from "../fixtures/postgres";
import { checkout } from "./checkout";

/** What the auth server sends to the process that started it. */
export type AuthServerMessage = { readonly kind: "ready"; readonly url: string };

const { send } = connectToParent<AuthServerMessage>();
const databaseUrl = process.env["DATABASE_URL"]!;
const { url, auth } = await startAuthServer({
  databaseUrl,
  port: Number(process.env["PORT"]),
  plugins: [
    ...tables,
    checkout(stripeClient(Number(process.env["STRIPE_PORT"])), () => auth.$context, [
      // The worker keeps the seats. Of a plan with a `seatPriceId` this plugin would write them too.
      { ...teamPlan, seatPriceId: undefined, lineItems: [{ price: seatPriceId, quantity: 1 }] },
    ]),
    publishSubscriptions(createPool(databaseUrl)),
  ],
});
send({ kind: "ready", url });

/** The standard events come from triggers; this one has no table of its own. */
function publishSubscriptions(pool: pg.Pool) {
  return {
    id: "publish-subscriptions",
    init(auth) {
      const event = "billing.subscription.started";
      getBus(auth).on(event, (payload) => publish(pool, event, payload));
    },
  } satisfies BetterAuthPlugin;
}
