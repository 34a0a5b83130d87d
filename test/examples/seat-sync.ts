import { getBus, type MemberEvent } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";
import type Stripe from "stripe";

export interface SeatPlan {
  /** Compared with a subscription's `plan` without regard to case. */
  name: string;
  /** The Stripe price of one seat; a plan without it has no seats to sync. */
  seatPriceId?: string;
  /** How Stripe bills a change in the middle of a period; `create_prorations` by default. */
  prorationBehavior?: Stripe.SubscriptionUpdateParams.ProrationBehavior;
}

export interface SeatSyncOptions {
  stripe: Stripe;
  plans: SeatPlan[];
  organization?: { enabled: boolean };
}

interface Subscription {
  id: string;
  plan: string;
  stripeSubscriptionId: string | null;
  status: string;
  seats: number | null;
}

/** Keeps the seats of an organization's Stripe subscription equal to the number of its members. */
export function seatSync(options: SeatSyncOptions) {
  return {
    id: "seat-sync",

    schema: {
      subscription: {
        fields: {
          plan: { type: "string", required: true },
          referenceId: { type: "string", required: true },
          stripeSubscriptionId: { type: "string", required: false },
          status: { type: "string", required: true, defaultValue: "incomplete" },
          seats: { type: "number", required: false },
        },
      },
    },

    init(auth) {
      if (!options.organization?.enabled) return;
      if (!options.plans.some((plan) => plan.seatPriceId)) return;
      const bus = getBus(auth);
      const syncSeats = createSeatSync(auth, options);
      bus.on("organization.member.added", syncSeats);
      bus.on("organization.member.removed", syncSeats);
    },
  } satisfies BetterAuthPlugin;
}

/** The handler behind the plugin; it does the same wherever it runs. */
export function createSeatSync(
  { adapter }: Pick<AuthContext, "adapter">,
  { stripe, plans }: SeatSyncOptions,
) {
  const inTurn = oneAtATime();

  return function syncSeats({ organizationId }: MemberEvent): Promise<void> {
    return inTurn(organizationId, async () => {
      const subscription = await findSubscription(organizationId);
      const plan = findPlan(subscription?.plan);
      if (!subscription?.stripeSubscriptionId || !plan?.seatPriceId) return;

      // Members may come and go while Stripe answers, and other servers may be writing too. Whoever
      // wrote last counts again after it wrote, so the last count is the one that stays.
      let members = await countMembers(organizationId);
      for (;;) {
        const synced = await setQuantity(subscription.stripeSubscriptionId, plan, members);
        if (!synced) return;
        await setSeats(subscription, members);
        const membersNow = await countMembers(organizationId);
        if (membersNow === members) return;
        members = membersNow;
      }
    });
  };

  function countMembers(organizationId: string): Promise<number> {
    return adapter.count({
      model: "member",
      where: [{ field: "organizationId", value: organizationId }],
    });
  }

  async function findSubscription(organizationId: string): Promise<Subscription | undefined> {
    const subscriptions = await adapter.findMany<Subscription>({
      model: "subscription",
      where: [{ field: "referenceId", value: organizationId }],
    });
    return subscriptions.find(({ status }) => isCurrent(status));
  }

  function findPlan(name: string | undefined): SeatPlan | undefined {
    return plans.find((plan) => plan.name.toLowerCase() === name?.toLowerCase());
  }

  /** Returns whether Stripe's subscription is one that has seats to set. */
  async function setQuantity(id: string, plan: SeatPlan, quantity: number): Promise<boolean> {
    const { status, items } = await stripe.subscriptions.retrieve(id);
    if (!isCurrent(status)) return false;
    const item = items.data.find(({ price }) => price.id === plan.seatPriceId);
    if (item?.quantity === quantity) return true;
    await stripe.subscriptions.update(id, {
      items: [item ? { id: item.id, quantity } : { price: plan.seatPriceId!, quantity }],
      proration_behavior: plan.prorationBehavior ?? "create_prorations",
    });
    return true;
  }

  async function setSeats({ id }: Subscription, seats: number): Promise<void> {
    await adapter.update({
      model: "subscription",
      where: [{ field: "id", value: id }],
      update: { seats },
    });
  }
}

function isCurrent(status: string): boolean {
  return status === "active" || status === "trialing";
}

/** Runs what it is given one after another per key, so that two runs never add the same item. */
function oneAtATime() {
  const lastTurns = new Map<string, Promise<unknown>>();

  return function inTurn<Result>(key: string, run: () => Promise<Result>): Promise<Result> {
    const turn = (lastTurns.get(key) ?? Promise.resolve()).then(run);
    const settled = turn
      .catch(() => {})
      .then(() => {
        if (lastTurns.get(key) === settled) lastTurns.delete(key);
      });
    lastTurns.set(key, settled);
    return turn;
  };
}
