import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware } from "better-auth/api";
import type pg from "pg";
import { publish } from "../examples/outbox/publish";
import { startAuthServer } from "../fixtures/auth-server";
import { parentOf } from "../fixtures/child";
import { tables } from "../fixtures/outbox";
import { seatPriceId, teamPlan } from "../fixtures/plans";
import { createPool } from "../fixtures/postgres";
import { stripeClient } from "../fixtures/stripe-server";
import { checkout } from "./plugins/checkout";

/** What the auth server tells the process that started it. */
export interface AuthServerMessage {
  readonly kind: "ready";
  readonly url: string;
}

const { tell } = parentOf<AuthServerMessage>();
const databaseUrl = process.env["DATABASE_URL"]!;
const plugins = [
  ...tables,
  checkout({
    stripeClient: stripeClient(Number(process.env["STRIPE_PORT"] ?? 1)),
    // The worker keeps the seats. Of a plan with a `seatPriceId` this plugin would write them too.
    plans: [
      { ...teamPlan, seatPriceId: undefined, lineItems: [{ price: seatPriceId, quantity: 1 }] },
    ],
    context: () => auth.$context,
  }),
  forwardSubscriptions(createPool(databaseUrl)),
];
const { url, auth } = await startAuthServer({
  databaseUrl,
  port: Number(process.env["PORT"] ?? 0),
  plugins: process.env["DIES"] ? [...plugins, diesBeforeItPublishes()] : plugins,
});
tell({ kind: "ready", url });

/** For the standard events there are triggers; this one has no table that is its own. */
function forwardSubscriptions(pool: pg.Pool) {
  return {
    id: "forward-subscriptions",
    init(auth) {
      const event = "billing.subscription.started";
      getBus(auth).on(event, (payload) => publish(pool, event, payload));
    },
  } satisfies BetterAuthPlugin;
}

/** Dies where a plugin would publish: once the route has made its change. */
function diesBeforeItPublishes(): BetterAuthPlugin {
  return {
    id: "dies-before-it-publishes",
    hooks: {
      after: [
        {
          matcher: ({ path }) => path === "/organization/accept-invitation",
          handler: createAuthMiddleware(async () => process.kill(process.pid, "SIGKILL")),
        },
      ],
    },
  };
}
