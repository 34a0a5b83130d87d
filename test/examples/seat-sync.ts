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
  const sync = oneAtATime(async (organizationId) => {
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

  return function syncSeats({ organizationId }: MemberEvent): Promise<void> {
    return sync(organizationId);
  };

  function countMembers(organizationId: string): Promise<number> {
    return adapter.count({
      model: "member",
      where: [{ field: "organizationId", value: organizationId }],
    });
  }

  async function findSubscription(organizationId: string): Promise<Subscription | undefined> {
    const [subscription] = await adapter.findMany<Subscription>({
      model: "subscription",
      where: [
        { field: "referenceId", value: organizationId },
        { field: "status", operator: "in", value: currentStatuses },
      ],
      limit: 1,
    });
    return subscription;
  }

  function findPlan(name: string | undefined): SeatPlan | undefined {
    return plans.find((plan) => plan.name.toLowerCase() === name?.toLowerCase());
  }

  /** Returns whether Stripe's subscription is one that has seats to set. */
  async function setQuantity(id: string, plan: SeatPlan, quantity: number): Promise<boolean> {
    const { status, items } = await stripe.subscriptions.retrieve(id);
    if (!currentStatuses.includes(status)) return false;
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

const currentStatuses = ["active", "trialing"];

/**
 * While a run for a key is under way, at most one more waits for it to end. Whoever comes meanwhile
 * joins the one that waits: it has yet to begin, so it will see what they saw.
 */
function oneAtATime(run: (key: string) => Promise<void>) {
  const underWay = new Map<string, Promise<void>>();
  const waiting = new Map<string, Promise<void>>();

  function start(key: string): Promise<void> {
    waiting.delete(key);
    const current = run(key).finally(() => underWay.delete(key));
    underWay.set(key, current);
    return current;
  }

  return function join(key: string): Promise<void> {
    const last = underWay.get(key);
    if (!last) return waiting.get(key) ?? start(key);
    const next = waiting.get(key) ?? last.catch(() => {}).then(() => start(key));
    waiting.set(key, next);
    return next;
  };
}
