import { randomUUID } from "node:crypto";
import type { StripeOptions } from "@better-auth/stripe";
import { EventBus, type EventName, type EventPayload } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { checkout } from "../plugins/checkout";
import { startAuthServer, type AuthAppOptions } from "./auth-server";
import type { Defer } from "./deferred";
import { seatPriceId, teamPlan } from "./plans";
import { createOrganization, must, signUp, type Person } from "./people";
import { seatSync, type SeatPlan, type SeatSyncOptions } from "../../examples/seat-sync";
import { standardEvents } from "../../examples/standard-events";
import { createDatabase, startPostgres } from "./postgres";
import { StripeServer, type StripeItem } from "./stripe-server";

/** The secret key with which Better Auth's Stripe plugin calls Stripe, so that it can be told apart. */
export const theirKey = "sk_test_theirs";

export interface AppOptions {
  /** Adds Better Auth's Stripe plugin, which has the same plans as seat sync. */
  besideStripe?: boolean;
  /** Of Better Auth's Stripe plugin. */
  schema?: StripeOptions["schema"];
  /** Puts seat sync after Better Auth's Stripe plugin. */
  seatSyncLast?: boolean;
  withoutStandardEvents?: boolean;
  /** Of seat sync, but for `stripe`; enabled on the team plan by default. */
  seats?: Partial<SeatSyncOptions>;
  plugins?: BetterAuthPlugin[];
  deleteUser?: AuthAppOptions["deleteUser"];
  databaseUrl?: string;
  stripe?: StripeServer;
}

/** The app of the demo for a test: it keeps what was emitted and what was logged. */
export async function startApp(
  defer: Defer,
  {
    besideStripe = false,
    schema,
    seatSyncLast = false,
    withoutStandardEvents = false,
    seats,
    plugins = [],
    deleteUser,
    databaseUrl,
    stripe: sharedStripe,
  }: AppOptions = {},
) {
  const emitted: [string, unknown][] = [];
  const errors: string[] = [];
  const warnings: string[] = [];
  const stripe = sharedStripe ?? (await new StripeServer().start());
  if (!sharedStripe) defer(() => stripe.stop());
  const ours: SeatSyncOptions = {
    stripe: stripe.client(),
    plans: [teamPlan],
    organization: { enabled: true },
    // Whoever runs the tests may have a slow machine.
    timeLimit: 60_000,
    ...seats,
  };

  const theirs = checkout({
    stripeClient: stripe.client({}, theirKey),
    plans: async () => [...(await plansOf(ours))],
    schema,
    context: () => server.auth.$context,
  });
  databaseUrl ??= await createDatabase(await startPostgres(defer), defer);
  const server = await startAuthServer({
    databaseUrl,
    deleteUser,
    logger: {
      level: "warn",
      log: (level, message, ...details: unknown[]) => {
        const line = [message, ...details.map(String)].join(" ");
        if (level === "error") errors.push(line);
        if (level === "warn") warnings.push(line);
      },
    },
    plugins: [
      recording(emitted),
      ...(withoutStandardEvents ? [] : [standardEvents()]),
      ...(seatSyncLast ? [] : [seatSync(ours)]),
      ...(besideStripe ? [theirs] : []),
      ...(seatSyncLast ? [seatSync(ours)] : []),
      ...plugins,
    ],
  });
  defer(() => server.close());
  const { adapter } = await server.auth.$context;
  if (besideStripe) stripe.webhookUrl = `${server.url}/api/auth/stripe/webhook`;

  /** Signs up somebody with an organization that pays for one seat. */
  async function startOrganization(subscription: SubscriptionOptions = {}) {
    const owner = await signUp(server.url, "Ada");
    const organizationId = await createOrganization(owner, "lovelace");
    const subscriptionId = besideStripe
      ? await buy(owner, organizationId)
      : await addSubscription(organizationId, subscription);
    emitted.length = 0;
    stripe.updates.length = 0;
    return { owner, organizationId, subscriptionId };
  }

  /** Buys the first plan through Better Auth's Stripe plugin. */
  async function buy(owner: Person, organizationId: string, plan = "team"): Promise<string> {
    const subscriptionId = stripe.pay(await checkOut(owner, organizationId, plan));
    await stripe.delivered();
    return subscriptionId;
  }

  /** Returns the id of the checkout session. */
  async function checkOut(owner: Person, organizationId: string, plan = "team"): Promise<string> {
    const order = { plan, referenceId: organizationId, customerType: "organization" };
    const { body } = must(await owner.client.post("/subscription/upgrade", order));
    return body.id;
  }

  /** Adds a subscription to Stripe and its row to the table, as somebody's own checkout does. */
  async function addSubscription(
    organizationId: string,
    {
      plan = "team",
      status = "active",
      stripeStatus = status,
      items = [{ id: `si_${organizationId}`, price: { id: seatPriceId }, quantity: 1 }],
    }: SubscriptionOptions = {},
  ): Promise<string> {
    const subscriptionId = `sub_${randomUUID()}`;
    stripe.addSubscription({ id: subscriptionId, status: stripeStatus, items });
    await addRow({ organizationId, subscriptionId }, { plan, status });
    return subscriptionId;
  }

  async function addRow(
    { organizationId, subscriptionId }: Subscribed,
    { plan = "team", status = "active" } = {},
  ): Promise<void> {
    const data = { plan, referenceId: organizationId, status, seats: 1 };
    await adapter.create({
      model: "subscription",
      data: { ...data, stripeSubscriptionId: subscriptionId },
    });
  }

  /** The three numbers that are to be equal. */
  async function counts({ organizationId, subscriptionId }: Subscribed, priceId = seatPriceId) {
    const subscription = await adapter.findOne<{ seats: number }>({
      model: "subscription",
      where: [{ field: "stripeSubscriptionId", value: subscriptionId }],
    });
    return {
      members: await adapter.count({
        model: "member",
        where: [{ field: "organizationId", value: organizationId }],
      }),
      quantity: stripe.quantity(subscriptionId, priceId),
      seats: subscription?.seats,
    };
  }

  return {
    ...server,
    databaseUrl,
    adapter,
    stripe,
    emitted,
    errors,
    warnings,
    startOrganization,
    buy,
    checkOut,
    addSubscription,
    addRow,
    counts,
  };
}

interface Subscribed {
  organizationId: string;
  subscriptionId: string;
}

interface SubscriptionOptions {
  plan?: string;
  status?: string;
  stripeStatus?: string;
  items?: StripeItem[];
}

const plansOf = async ({ plans }: SeatSyncOptions): Promise<readonly SeatPlan[]> =>
  typeof plans === "function" ? plans() : plans;

/** Puts a bus there that keeps what is emitted. */
function recording(emitted: [string, unknown][]): BetterAuthPlugin {
  class RecordingBus extends EventBus {
    override emit<Name extends EventName>(event: Name, payload: EventPayload<Name>): Promise<void> {
      emitted.push([event, payload]);
      return super.emit(event, payload);
    }
  }
  return {
    id: "recording",
    init: (auth) => ({ context: { pluginState: { events: new RecordingBus(auth.logger) } } }),
  };
}
