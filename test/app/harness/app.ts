import { EventBus, type EventName, type EventPayload } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";
import { startAuthServer, type AuthAppOptions } from "./auth-server";
import type { Defer } from "./deferred";
import { seatPriceId, teamPlan } from "./plans";
import { createOrganization, signUp } from "./people";
import { seatSync, type SeatSyncOptions } from "../../examples/seat-sync";
import { standardEvents } from "../../examples/standard-events";
import { createDatabase, startPostgres } from "./postgres";
import { StripeServer } from "./stripe-server";

export interface AppOptions {
  /** Of seat sync, but for `stripe`; enabled on the team plan by default. */
  seats?: Partial<SeatSyncOptions>;
  plugins?: BetterAuthPlugin[];
  deleteUser?: AuthAppOptions["deleteUser"];
  databaseUrl?: string;
}

/** The app of the demo for a test: it keeps what was emitted and what was logged as an error. */
export async function startApp(
  defer: Defer,
  { seats, plugins = [], deleteUser, databaseUrl }: AppOptions = {},
) {
  const emitted: [string, unknown][] = [];
  const errors: string[] = [];
  const stripe = await new StripeServer().start();
  defer(() => stripe.stop());

  databaseUrl ??= await createDatabase(await startPostgres(defer), defer);
  const server = await startAuthServer({
    databaseUrl,
    deleteUser,
    logger: {
      log: (level, message, ...details: unknown[]) => {
        if (level === "error") errors.push([message, ...details.map(String)].join(" "));
      },
    },
    plugins: [
      recording(emitted),
      standardEvents(),
      seatSync({
        stripe: stripe.client(),
        plans: [teamPlan],
        organization: { enabled: true },
        ...seats,
      }),
      ...plugins,
    ],
  });
  defer(() => server.close());
  // Better Auth's own type of it does not allow for `exactOptionalPropertyTypes`.
  const { adapter } = (await server.auth.$context) as unknown as AuthContext;

  /** Signs up somebody with an organization that pays for one seat. */
  async function startOrganization({
    plan = "team",
    status = "active",
    stripeStatus = status,
  }: { plan?: string; status?: string; stripeStatus?: string } = {}) {
    const owner = await signUp(server.url, "Ada");
    const organizationId = await createOrganization(owner, "lovelace");
    const subscriptionId = `sub_${organizationId}`;
    stripe.addSubscription({
      id: subscriptionId,
      status: stripeStatus,
      items: [{ id: `si_${organizationId}`, price: { id: seatPriceId }, quantity: 1 }],
    });
    await addSubscription({ organizationId, subscriptionId }, { plan, status });
    emitted.length = 0;
    return { owner, organizationId, subscriptionId };
  }

  async function addSubscription(
    { organizationId, subscriptionId }: { organizationId: string; subscriptionId: string },
    { plan = "team", status = "active" } = {},
  ): Promise<void> {
    const data = { plan, referenceId: organizationId, status, seats: 1 };
    await adapter.create({
      model: "subscription",
      data: { ...data, stripeSubscriptionId: subscriptionId },
    });
  }

  /** The three numbers that are to be equal. */
  async function counts({
    organizationId,
    subscriptionId,
  }: {
    organizationId: string;
    subscriptionId: string;
  }) {
    const subscription = await adapter.findOne<{ seats: number }>({
      model: "subscription",
      where: [{ field: "stripeSubscriptionId", value: subscriptionId }],
    });
    return {
      members: await adapter.count({
        model: "member",
        where: [{ field: "organizationId", value: organizationId }],
      }),
      quantity: stripe.quantity(subscriptionId, seatPriceId),
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
    startOrganization,
    addSubscription,
    counts,
  };
}

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
