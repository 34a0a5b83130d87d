// @kernia/events 1.0.0: copied from its test/examples/seat-sync.ts
// Needs Better Auth 1.3.34 or newer, a Stripe SDK from 17 to 23, and `standard-events.ts` beside it.

import { getBus } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";
import type Stripe from "stripe";

declare global {
  interface KerniaEvents {
    /** The app emits it when Stripe reports a change of a subscription; the seats are recounted. */
    "billing.subscription.changed": { readonly organizationId: string };
  }
}

/**
 * Keeps the seats of an organization's Stripe subscriptions equal to the number of its members, while
 * they are active or on trial. It recounts on each change of a member, and when the app emits
 * `billing.subscription.changed`. Put it before `stripe()` of @better-auth/stripe.
 *
 * Only the removal of the last member ends a subscription, with the paid period; it goes on if a member
 * joins before. A recount that finds no members changes nothing at Stripe and logs a warning. No item is
 * deleted, and nothing is resumed that was not ended here.
 *
 * Not covered:
 * - After a failed call to Stripe, or when a server dies, seats stay wrong until a later change, at the
 *   latest until `billing.subscription.changed`: emit that on Stripe's webhooks, or every night.
 * - Ids that count up: the subscription of user 5 gets the seats of organization 5, and neither ever ends.
 */
export function seatSync(options: SeatSyncOptions): {
  id: "seat-sync";
  schema: typeof schema;
  init: BetterAuthPlugin["init"] & {};
} {
  return {
    id: "seat-sync",
    schema,
    init(auth) {
      const { plugins = [] } = auth.options;
      const first = plugins.find((plugin) => plugin.schema?.["subscription"]);
      if (first && first.id !== "seat-sync")
        throw new Error(`seatSync() has to come before ${first.id}(), whose table it would change`);
      const warn = (text: string) => auth.logger.warn(`Seat sync ${text}.`);
      if (!auth.tables["member"])
        return warn("is off: there are no members without the organization plugin");
      if (typeof options.plans !== "function" && !options.plans.some((plan) => plan.seatPriceId))
        return warn("is off: none of its plans has a seatPriceId");
      if (!plugins.some(({ id }) => id === "standard-events"))
        warn("does not find the plugin standard-events: add it, or emit its events yourself");
      const bus = getBus(auth);
      const syncSeats = createSeatSync(auth, options);
      bus.on("organization.member.added", syncSeats);
      bus.on("organization.member.removed", syncSeats);
      bus.on("billing.subscription.changed", syncSeats);
    },
  } satisfies BetterAuthPlugin;
}

/** The plans may be the very same as those of `stripe()`. */
export interface SeatSyncOptions {
  readonly stripe: Pick<Stripe, "subscriptions" | "subscriptionItems">;
  readonly plans: Plans | (() => Plans | Promise<Plans>);
  /** Milliseconds for an attempt of a call to Stripe, and for a request to wait; 5,000 by default. */
  readonly timeLimit?: number | undefined;
}

/**
 * Each `StripePlan` of @better-auth/stripe is one. Keep an old price of a seat, while somebody pays it, as
 * one more plan with a `priceId` of its own.
 */
export interface SeatPlan {
  /** Compared with a subscription's `plan` without regard to case. */
  readonly name: string;
  /** The Stripe price of one seat; a plan without it has no seats to sync. */
  readonly seatPriceId?: string | undefined;
  /** These prices identify the plan of a Stripe subscription before its row is up to date. */
  readonly priceId?: string | undefined;
  readonly lookupKey?: string | undefined;
  readonly annualDiscountPriceId?: string | undefined;
  readonly annualDiscountLookupKey?: string | undefined;
  /** How Stripe bills a change in the middle of a period; `create_prorations` by default. */
  readonly prorationBehavior?: Stripe.SubscriptionUpdateParams.ProrationBehavior | undefined;
}

const schema = {
  subscription: {
    fields: {
      plan: { type: "string", required: true },
      referenceId: { type: "string", required: true },
      stripeSubscriptionId: { type: "string", required: false, unique: true },
      status: { type: "string", required: true, defaultValue: "incomplete" },
      seats: { type: "number", required: false },
    },
  },
} as const;

/** Any Better Auth context is one, whatever its options are. */
export interface SeatSyncContext {
  readonly adapter: Pick<AuthContext["adapter"], "count" | "findMany" | "update">;
  readonly logger?: Pick<AuthContext["logger"], "error" | "warn"> | undefined;
}

/** A `MemberEvent`, or a `billing.subscription.changed`, which has no `action`. */
export type SeatChange = { readonly organizationId: string; readonly action?: string };

/** The handler behind the plugin, for a bus and for a queue. */
export function createSeatSync(
  { adapter, logger }: SeatSyncContext,
  { stripe, plans, timeLimit = 5_000 }: SeatSyncOptions,
): (change: SeatChange) => Promise<void> {
  const callOptions = { timeout: timeLimit };
  const count = (model: string, field: string, value: string) =>
    adapter.count({ model, where: [{ field, value }] });
  const saveSeats = ({ id: value }: Subscription, seats: number | null) =>
    adapter.update({ model: "subscription", where: [{ field: "id", value }], update: { seats } });
  // Those of one organization run one after another: each waits for the last that is under way.
  const last = new Map<string, Promise<unknown>>();
  return function syncSeats(change) {
    const { organizationId: id } = change;
    const synced = (last.get(id) ?? Promise.resolve()).then(() => syncOrganization(change));
    const leave = () => {
      if (last.get(id) === settled) last.delete(id);
    };
    const settled = synced.then(leave, leave);
    last.set(id, settled);
    return withinLimit(id, synced);
  };

  async function syncOrganization({ organizationId, action }: SeatChange): Promise<void> {
    // Webhooks may be late or in the wrong order: Stripe is asked unless the row's status is final.
    const where = [
      { field: "referenceId", value: organizationId },
      { field: "status", operator: "in" as const, value: openStatuses },
    ];
    const rows = await adapter.findMany<Subscription>({ model: "subscription", where });
    const errors: unknown[] = [];
    for (const row of rows) await syncRow(row, action).catch((error) => errors.push(error));
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new Error(errors.join("; "));
  }

  async function syncRow(row: Subscription, action?: string): Promise<void> {
    // Of the thousand events of one deletion, only the first finds a difference and calls Stripe.
    let seats = action && paidStatuses.includes(row.status) ? row.seats : undefined;
    // Members may come and go while Stripe answers, and other servers may be writing too. Each counts
    // again after it wrote, so the last count is the one that stays.
    for (;;) {
      const members = await count("member", "organizationId", row.referenceId);
      if (members === seats) return;
      if (members === 0 && (await count("user", "id", row.referenceId)) > 0) return;
      if (!(await setQuantity(row, members, action))) return;
      await saveSeats(row, (seats = members));
    }
  }

  /** Returns whether the quantity of Stripe's subscription is now the number of members. */
  async function setQuantity(row: Subscription, members: number, action?: string) {
    const id = row.stripeSubscriptionId;
    if (!id) return false;
    const subscription = await stripe.subscriptions.retrieve(id, {}, callOptions);
    const { status, items: page, cancel_at_period_end, cancellation_details } = subscription;
    const isEnding = cancel_at_period_end || subscription.cancel_at;
    const isEndedHere = cancel_at_period_end && cancellation_details?.comment === noMembers;
    if (status === "incomplete" || !openStatuses.includes(status)) return false;
    const all = { subscription: id, limit: 100 };
    const { data } = page.has_more ? await stripe.subscriptionItems.list(all, callOptions) : page;
    const known = typeof plans === "function" ? await plans() : plans;
    const plan = findPlan(row.plan, data, known);
    const seats = data.filter((item) => known.some((each) => each.seatPriceId === item.price.id));
    const seat = seats.find((item) => item.price.id === plan?.seatPriceId) ?? seats[0];
    if (members === 0 && !(seat && action === "removed")) {
      // A replica may lag, a table may be half restored: only a removal is certain.
      const warning = `Seat sync left ${id} alone: "${row.referenceId}" has no members`;
      if (seat && !isEnding) logger?.warn(warning);
      return false;
    }
    // After an upgrade by stripe(), the new plan may not have an item for its seats yet.
    const item = seat ? { id: seat.id } : plan?.seatPriceId && { price: plan.seatPriceId };
    if (!item) return false;

    const others = seats.filter((each) => each !== seat);
    const named = others.map((other) => `${other.id} (${other.price.id})`);
    if (others.length > 0) logger?.warn(`Seat sync left other seats of ${id} alone: ${named}`);
    const update: Stripe.SubscriptionUpdateParams = {};
    if (members === 0 ? !isEnding : isEndedHere) {
      update.cancel_at_period_end = members === 0;
      update.cancellation_details = { comment: members === 0 ? noMembers : "" };
    }
    const isPaid = paidStatuses.includes(status);
    if (isPaid && seat?.quantity !== members) {
      update.items = [{ ...item, quantity: members }];
      update.proration_behavior = plan?.prorationBehavior ?? "create_prorations";
    }
    if (Object.keys(update).length > 0) {
      // After an error, Stripe may have either number: the row has none, so that the next change asks.
      const forget = (reason: unknown) => saveSeats(row, null).then(() => Promise.reject(reason));
      await stripe.subscriptions.update(id, update, callOptions).catch(forget);
    }
    return isPaid;
  }

  /** Bounds how long callers wait; what fails after that is logged. */
  function withinLimit(id: string, work: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        work.catch((error) => logger?.error("Seats were not synced:", id, error));
        reject(new Error(`Seat sync of ${id} takes longer than ${timeLimit} ms, and goes on`));
      }, timeLimit);
      work.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }
}

type Plans = readonly SeatPlan[];

interface Subscription extends Record<"id" | "plan" | "referenceId" | "status", string> {
  readonly stripeSubscriptionId: string | null;
  readonly seats: number | null;
}

/** In these, seats are kept right; in the other open ones, it is only set to end or to go on. */
const paidStatuses: readonly string[] = ["active", "trialing"];
const openStatuses = [...paidStatuses, "past_due", "unpaid", "paused", "incomplete"];
const noMembers = "No members are left.";

/** The plan whose prices Stripe bills; the plan that the row names, if several or none match. */
function findPlan(name: string, items: Stripe.SubscriptionItem[], plans: Plans) {
  const prices = items.flatMap(({ price }) => [price.id, price.lookup_key]);
  const billed = plans.filter((plan) =>
    [plan.priceId, plan.annualDiscountPriceId, plan.lookupKey, plan.annualDiscountLookupKey].some(
      (price) => price && prices.includes(price),
    ),
  );
  const isNamed = (plan: SeatPlan) => plan.name.toLowerCase() === name.toLowerCase();
  return billed.find(isNamed) ?? billed[0] ?? plans.find(isNamed);
}
