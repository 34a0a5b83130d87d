// Needs Better Auth 1.3 or newer, a Stripe SDK from 17 to 23, and `standard-events.ts` beside it.

import { getBus } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";
import type Stripe from "stripe";

declare global {
  interface KerniaEvents {
    /** For the app to emit when Stripe says that a subscription changed; the seats are recounted. */
    "billing.subscription.changed": { readonly organizationId: string };
  }
}

/**
 * Each `StripePlan` of @better-auth/stripe is one. Keep the prices of a plan for as long as somebody
 * pays them: list an old price of a seat as one more plan, which also has a `priceId` of its own. A
 * subscription keeps one item for seats. Of several that plans know, the plan's own stays.
 */
export interface SeatPlan {
  /** Compared with a subscription's `plan` without regard to case. */
  readonly name: string;
  /** The Stripe price of one seat; a plan without it has no seats to sync. */
  readonly seatPriceId?: string | undefined;
  /** By its prices Stripe's subscription is known to be of this plan, before the row says so. */
  readonly priceId?: string | undefined;
  readonly lookupKey?: string | undefined;
  readonly annualDiscountPriceId?: string | undefined;
  readonly annualDiscountLookupKey?: string | undefined;
  /** How Stripe bills a change in the middle of a period; `create_prorations` by default. */
  readonly prorationBehavior?: Stripe.SubscriptionUpdateParams.ProrationBehavior | undefined;
}

export interface SeatSyncOptions {
  readonly stripe: Pick<Stripe, "subscriptions" | "subscriptionItems">;
  readonly plans: readonly SeatPlan[] | (() => readonly SeatPlan[] | Promise<readonly SeatPlan[]>);
  readonly organization?: { readonly enabled: boolean } | undefined;
  /**
   * In milliseconds, 5,000 by default: how long a call to Stripe may take before it is tried again, as
   * often as the SDK is told to, and how long a request waits for all of it. The sync goes on then.
   */
  readonly timeLimit?: number | undefined;
}

export interface SeatSync {
  readonly id: "seat-sync";
  readonly schema: typeof schema;
  init(auth: AuthContext): void;
}

const schema = {
  subscription: {
    fields: {
      plan: { type: "string", required: true },
      referenceId: { type: "string", required: true },
      stripeSubscriptionId: { type: "string", required: false },
      status: { type: "string", required: true, defaultValue: "incomplete" },
      seats: { type: "number", required: false },
    },
  },
} as const;

/**
 * Keeps the seats of an organization's Stripe subscriptions equal to the number of its members, while
 * they are active or on trial. Put it before `stripe()` of @better-auth/stripe, if you have that.
 *
 * When the last member is gone, with the organization or the account, nobody is left who could cancel:
 * the subscription is set to end with the period that is paid, unless somebody joins before.
 */
export function seatSync(options: SeatSyncOptions): SeatSync {
  return {
    id: "seat-sync",
    schema,
    init(auth) {
      keepNames(auth);
      const obstacle = findObstacle(auth, options);
      if (obstacle) {
        auth.logger.warn(`Seat sync is off: ${obstacle}.`);
        return;
      }
      if (!auth.options.plugins?.some(({ id }) => id === "standard-events")) {
        auth.logger.warn(
          "Seat sync does not find the plugin standard-events. Add it, unless something else emits " +
            "organization.member.added and organization.member.removed.",
        );
      }
      const bus = getBus(auth);
      const syncSeats = createSeatSync(auth, options);
      bus.on("organization.member.added", syncSeats);
      bus.on("organization.member.removed", syncSeats);
      bus.on("billing.subscription.changed", syncSeats);
    },
  } satisfies BetterAuthPlugin;
}

/** The handler behind the plugin; it does the same wherever it runs. */
export function createSeatSync(
  { adapter, logger }: SeatSyncContext,
  { stripe, plans, timeLimit = 5_000 }: Omit<SeatSyncOptions, "organization">,
): (event: { readonly organizationId: string; readonly action?: string }) => Promise<void> {
  /** The organizations that lost a member since the last sync began. */
  const shrunk = new Set<string>();
  const callOptions = { timeout: timeLimit };

  const sync = oneAtATime(async (organizationId) => {
    const hasShrunk = shrunk.delete(organizationId);
    try {
      const subscriptions = await findSubscriptions(organizationId);
      if (subscriptions.length === 0) return;
      const known = typeof plans === "function" ? await plans() : plans;
      const outcomes = await Promise.allSettled(
        subscriptions.map((each) => syncSubscription(each, known, hasShrunk)),
      );
      const errors = outcomes.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
      if (errors.length > 0) throw errors.length === 1 ? errors[0] : new Error(errors.join("; "));
    } catch (error) {
      if (hasShrunk) shrunk.add(organizationId);
      throw error;
    }
  });

  return function syncSeats({ organizationId, action }) {
    if (action === "removed") shrunk.add(organizationId);
    return withinLimit(organizationId, sync(organizationId));
  };

  async function syncSubscription(
    { id, plan, referenceId, stripeSubscriptionId }: Subscription,
    plans: readonly SeatPlan[],
    hasShrunk: boolean,
  ): Promise<void> {
    if (!stripeSubscriptionId) return;
    // Members may come and go while Stripe answers, and other servers may be writing too. Whoever
    // wrote last counts again after it wrote, so the last count is the one that stays.
    for (let members = await countMembers(referenceId); ;) {
      // What never had a member is no organization: the subscription is somebody's own.
      if (members === 0 && !hasShrunk) return;
      const synced = await setQuantity(stripeSubscriptionId, plan, plans, members);
      if (!synced) return;
      const where = [{ field: "id", value: id }];
      await adapter.update({ model: "subscription", where, update: { seats: members } });
      const membersNow = await countMembers(referenceId);
      if (membersNow === members) return;
      members = membersNow;
    }
  }

  function countMembers(organizationId: string): Promise<number> {
    const where = [{ field: "organizationId", value: organizationId }];
    return adapter.count({ model: "member", where });
  }

  function findSubscriptions(organizationId: string): Promise<Subscription[]> {
    return adapter.findMany<Subscription>({
      model: "subscription",
      where: [
        { field: "referenceId", value: organizationId },
        // Webhooks may be late or in the wrong order: Stripe is asked unless the row's status is final.
        { field: "status", operator: "in", value: openStatuses },
      ],
    });
  }

  /** Returns whether the quantity of Stripe's subscription is now this one. */
  async function setQuantity(
    id: string,
    planName: string,
    plans: readonly SeatPlan[],
    quantity: number,
  ): Promise<boolean> {
    const subscription = await stripe.subscriptions.retrieve(id, {}, callOptions);
    const isPaid = paidStatuses.includes(subscription.status);
    if (!isPaid && !lateStatuses.includes(subscription.status)) return false;
    const { data, has_more } = subscription.items;
    const all = { subscription: id, limit: 100 };
    const items = has_more ? (await stripe.subscriptionItems.list(all, callOptions)).data : data;

    const plan = findPlan(planName, items, plans);
    const seatItems = items.filter(({ price }) => plans.some((p) => p.seatPriceId === price.id));
    const kept = seatItems.find(({ price }) => price.id === plan?.seatPriceId) ?? seatItems[0];
    if (!kept && !plan?.seatPriceId) return false;

    const changes: Stripe.SubscriptionUpdateParams.Item[] = seatItems
      .filter((item) => item !== kept)
      .map((item) => ({ id: item.id, deleted: true }));
    if (kept && kept.quantity !== quantity) changes.push({ id: kept.id, quantity });
    if (!kept && plan?.seatPriceId) changes.push({ price: plan.seatPriceId, quantity });
    const seatUpdate: Stripe.SubscriptionUpdateParams = {
      items: changes,
      proration_behavior: plan?.prorationBehavior ?? "create_prorations",
    };
    const update = {
      ...(isPaid && changes.length > 0 && seatUpdate),
      ...endOrResume(subscription, quantity),
    };
    if (Object.keys(update).length > 0) await stripe.subscriptions.update(id, update, callOptions);
    return isPaid;
  }

  /** Nobody waits longer than the limit, and a failure that nobody waits for is logged. */
  async function withinLimit(organizationId: string, work: Promise<void>): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        work.catch((error) => logger?.error("Seats were not synced:", organizationId, error));
        reject(new Error(`The sync of seats takes longer than ${timeLimit} ms, and goes on`));
      }, timeLimit);
    });
    await Promise.race([work, limit]).finally(() => clearTimeout(timer));
  }
}

/** Any Better Auth context is one, whatever its options are. */
export interface SeatSyncContext {
  readonly adapter: Pick<AuthContext["adapter"], "count" | "findMany" | "update">;
  readonly logger?: { error(message: string, ...details: unknown[]): unknown } | undefined;
}

interface Subscription {
  id: string;
  plan: string;
  referenceId: string;
  stripeSubscriptionId: string | null;
}

/** Those in which seats are kept right. */
const paidStatuses: readonly string[] = ["active", "trialing"];
/** Those in which it can only be set to end, for it may still be paid. */
const lateStatuses: readonly string[] = ["past_due", "unpaid", "paused"];
/** All that are not final. */
const openStatuses = [...paidStatuses, ...lateStatuses, "incomplete"];
const noMembers = "No members are left.";

/** The plan that Stripe's items say; of several, and if there is none, the one that the row says. */
function findPlan(name: string, items: Stripe.SubscriptionItem[], plans: readonly SeatPlan[]) {
  const isSold = (plan: SeatPlan) =>
    items.some(
      ({ price }) =>
        [plan.priceId, plan.annualDiscountPriceId].includes(price.id) ||
        (price.lookup_key &&
          [plan.lookupKey, plan.annualDiscountLookupKey].includes(price.lookup_key)),
    );
  const isNamed = (plan: SeatPlan) => plan.name.toLowerCase() === name.toLowerCase();
  const sold = plans.filter(isSold);
  return sold.find(isNamed) ?? sold[0] ?? plans.find(isNamed);
}

/** Ends a subscription that has no members, and only resumes one that was ended for this reason. */
function endOrResume(
  { cancel_at, cancel_at_period_end, cancellation_details }: Stripe.Subscription,
  members: number,
): Stripe.SubscriptionUpdateParams {
  const ends = cancel_at_period_end || cancel_at !== null;
  if (members === 0 && !ends) {
    return { cancel_at_period_end: true, cancellation_details: { comment: noMembers } };
  }
  if (members > 0 && cancel_at_period_end && cancellation_details?.comment === noMembers) {
    return { cancel_at_period_end: false, cancellation_details: { comment: "" } };
  }
  return {};
}

function findObstacle({ tables }: AuthContext, { organization, plans }: SeatSyncOptions) {
  if (!organization?.enabled) return "its option organization: { enabled: true } is missing";
  if (!tables["member"]) return "there are no members without the organization plugin";
  // A function may return others later.
  if (typeof plans === "function" || plans.some((plan) => plan.seatPriceId)) return undefined;
  return "none of its plans has a seatPriceId";
}

/** Of two plugins with the same table, the later one has the say about its names. */
function keepNames({ tables, options }: AuthContext): void {
  const table = tables["subscription"];
  for (const { id, schema } of options.plugins ?? []) {
    const named = schema?.["subscription"];
    const keeps =
      (!named?.modelName || named.modelName === table?.modelName) &&
      Object.entries(named?.fields ?? {}).every(
        ([field, { fieldName }]) => !fieldName || fieldName === table?.fields[field]?.fieldName,
      );
    if (!keeps)
      throw new Error(`seatSync() has to come before ${id}(), whose names it would reset`);
  }
}

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
