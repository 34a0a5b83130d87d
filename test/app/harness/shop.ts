import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { stripe, type SubscriptionOptions } from "@better-auth/stripe";
import { getBus } from "@kernia/events";
import { betterAuth, type BetterAuthOptions } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { organization } from "better-auth/plugins";
import OriginalStripe from "stripe";
import { seatSync } from "../../examples/seat-sync";
import { standardEvents } from "../../examples/standard-events";
import type { Defer } from "./deferred";
import { createDatabase, createPool, startPostgres } from "./postgres";
import { StripeServer, webhookSecret } from "./stripe-server";

interface Surroundings {
  Stripe: typeof OriginalStripe;
  stripeSecretKey: string;
  stripeWebhookSecret: string;
  authorizeReference: NonNullable<SubscriptionOptions["authorizeReference"]>;
  options: Pick<BetterAuthOptions, "baseURL" | "database" | "logger">;
}

/** What the README shows, as it stands there. */
function createShop({
  Stripe,
  stripeSecretKey,
  stripeWebhookSecret,
  authorizeReference,
  options,
}: Surroundings) {
  const stripeClient = new Stripe(stripeSecretKey, { timeout: 5_000, maxNetworkRetries: 1 });
  const plans = [{ name: "team", priceId: "price_team", seatPriceId: "price_seat" }];

  async function recountSeats(changed: { subscription: { referenceId: string } }): Promise<void> {
    const organizationId = changed.subscription.referenceId;
    await getBus(await auth.$context).emit("billing.subscription.changed", { organizationId });
  }

  const auth = betterAuth({
    ...options,
    emailAndPassword: { enabled: true },
    plugins: [
      organization(),
      standardEvents(),
      seatSync({ stripe: stripeClient, plans, organization: { enabled: true } }),
      stripe({
        stripeClient,
        stripeWebhookSecret,
        organization: { enabled: true },
        subscription: {
          enabled: true,
          plans,
          authorizeReference,
          onSubscriptionComplete: recountSeats,
          onSubscriptionCreated: recountSeats,
          onSubscriptionUpdate: recountSeats,
        },
      }),
    ],
  });
  return auth;
}

/** The shop of the README on loopback. */
export async function startShop(defer: Defer) {
  const stripeServer = await new StripeServer().start();
  defer(() => stripeServer.stop());
  class LoopbackStripe extends OriginalStripe {
    constructor(key: string, config?: OriginalStripe.StripeConfig) {
      super(key, { ...config, host: "127.0.0.1", port: stripeServer.port, protocol: "http" });
    }
  }
  const pool = createPool(await createDatabase(await startPostgres(defer), defer));
  defer(() => pool.end());

  const server = createServer((request, response) => void handle(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  stripeServer.webhookUrl = `${url}/api/auth/stripe/webhook`;
  const warnings: string[] = [];
  const auth = createShop({
    Stripe: LoopbackStripe as typeof OriginalStripe,
    stripeSecretKey: "sk_test_loopback",
    stripeWebhookSecret: webhookSecret,
    authorizeReference: async () => true,
    options: {
      baseURL: url,
      database: pool,
      logger: {
        level: "warn",
        log: (_, message, ...details) => warnings.push([message, ...details.map(String)].join(" ")),
      },
    },
  });
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();
  const handle = toNodeHandler(auth);
  defer(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return { url, auth, stripe: stripeServer, warnings };
}
