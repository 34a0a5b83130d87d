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
 * `billing.subscription.changed`. When the last member leaves, the subscription is set to end with the
 * paid period; it goes on if a member joins before. Put it before `stripe()` of @better-auth/stripe.
 *
 * Not covered:
 * - After a failed call to Stripe, or when a server dies, seats stay wrong until a later change, at the
 *   latest until `billing.subscription.changed`: emit that on Stripe's webhooks, or every night.
 * - The subscription of a user is left alone. One for seats whose `referenceId` is no longer the id of an
 *   organization or a user ends with the paid period, as that of a deleted organization.
 * - Ids that count up, where users subscribe too: user 5 and organization 5 share a `referenceId`.
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
      checkOrder(plugins);
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
 * one more plan with a `priceId` of its own. If several items match, the one of the plan is kept.
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
      stripeSubscriptionId: { type: "string", required: false },
      status: { type: "string", required: true, defaultValue: "incomplete" },
      seats: { type: "number", required: false },
    },
  },
} as const;

/** Any Better Auth context is one, whatever its options are. */
export interface SeatSyncContext {
  readonly adapter: Pick<AuthContext["adapter"], "count" | "findMany" | "update">;
  readonly logger?: { error(message: string, ...details: unknown[]): unknown } | undefined;
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
  const underWay = new Map<string, Promise<unknown>>();
  const waiting = new Map<string, Promise<void>>();
  // While a sync of an organization runs, one more waits for its end, and all others join that one.
  return function syncSeats(change) {
    const { organizationId: id, action } = change;
    const key = `${id} ${action}`;
    const last = underWay.get(key);
    const synced = waiting.get(key) ?? withinLimit(id, last ? last.then(start) : start());
    if (last) waiting.set(key, synced);
    return synced;

    function start(): Promise<void> {
      waiting.delete(key);
      const work = syncOrganization(change).finally(() => underWay.delete(key));
      underWay.set(
        key,
        work.catch(() => {}),
      );
      return work;
    }
  };

  async function syncOrganization({ organizationId, action }: SeatChange): Promise<void> {
    // Webhooks may be late or in the wrong order: Stripe is asked unless the row's status is final.
    const where = [
      { field: "referenceId", value: organizationId },
      { field: "status", operator: "in" as const, value: openStatuses },
    ];
    const rows = await adapter.findMany<Subscription>({ model: "subscription", where });
    if (rows.length === 0) return;
    const known = typeof plans === "function" ? await plans() : plans;
    const outcomes = await Promise.allSettled(rows.map((row) => syncRow(row, known, action)));
    const errors = outcomes.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new Error(errors.join("; "));
  }

  async function syncRow(row: Subscription, plans: Plans, action?: string): Promise<void> {
    const where = [{ field: "id", value: row.id }];
    const save = (seats: number | null) =>
      adapter.update({ model: "subscription", where, update: { seats } });
    // After an error, Stripe may have either number: the row has none, so that the next change asks Stripe.
    const forget = (reason: unknown) => save(null).then(() => Promise.reject(reason));
    // Of the thousand events of one deletion, only the first finds a difference and calls Stripe.
    let seats = action && paidStatuses.includes(row.status) ? row.seats : undefined;
    // Members may come and go while Stripe answers, and other servers may be writing too. Each counts
    // again after it wrote, so the last count is the one that stays.
    for (;;) {
      const members = await count("member", "organizationId", row.referenceId);
      if (members === seats) return;
      const isAmbiguous = members === 0 && action !== "removed";
      if (isAmbiguous && (await count("user", "id", row.referenceId)) > 0) return;
      if (!(await setQuantity(row, plans, members).catch(forget))) return;
      await save((seats = members));
    }
  }

  /** Returns whether the quantity of Stripe's subscription is now this one. */
  async function setQuantity(row: Subscription, plans: Plans, quantity: number): Promise<boolean> {
    const id = row.stripeSubscriptionId;
    if (!id) return false;
    const subscription = await stripe.subscriptions.retrieve(id, {}, callOptions);
    const { status, items: page } = subscription;
    if (status === "incomplete" || !openStatuses.includes(status)) return false;
    const all = { subscription: id, limit: 100 };
    const { data } = page.has_more ? await stripe.subscriptionItems.list(all, callOptions) : page;
    const plan = findPlan(row.plan, data, plans);
    const seats = data.filter(({ price }) => plans.some((p) => p.seatPriceId === price.id));
    const price = plan?.seatPriceId;
    const kept = seats.find((item) => item.price.id === price) ?? seats[0];
    // Without members and without seats, nothing shows that it was ever an organization's.
    const seat = kept ? { id: kept.id } : price && quantity > 0 && { price };
    if (!seat) return false;

    const surplus = seats.filter((item) => item !== kept).map(({ id }) => ({ id, deleted: true }));
    const changes = kept?.quantity === quantity ? surplus : [...surplus, { ...seat, quantity }];
    const update: Stripe.SubscriptionUpdateParams = endOrResume(subscription, quantity);
    const isPaid = paidStatuses.includes(status);
    if (isPaid && changes.length > 0) {
      update.items = changes;
      update.proration_behavior = plan?.prorationBehavior ?? "create_prorations";
    }
    if (Object.keys(update).length > 0) await stripe.subscriptions.update(id, update, callOptions);
    return isPaid;
  }

  /** Bounds how long callers wait; what fails after that is logged. */
  async function withinLimit(id: string, work: Promise<void>): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        work.catch((error) => logger?.error("Seats were not synced:", id, error));
        reject(new Error(`Seat sync of ${id} takes longer than ${timeLimit} ms, and goes on`));
      }, timeLimit);
    });
    await Promise.race([work, limit]).finally(() => clearTimeout(timer));
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

/** Ends a subscription that has no members, and only resumes one that was ended for this reason. */
function endOrResume(subscription: Stripe.Subscription, members: number) {
  const { cancel_at, cancel_at_period_end, cancellation_details } = subscription;
  const isEnding = cancel_at_period_end || cancel_at !== null;
  const isEndedHere = cancel_at_period_end && cancellation_details?.comment === noMembers;
  if (members === 0 ? isEnding : !isEndedHere) return {};
  const comment = members === 0 ? noMembers : "";
  return { cancel_at_period_end: members === 0, cancellation_details: { comment } };
}

/** The later of two plugins that declare a table decides its names. */
function checkOrder(plugins: readonly BetterAuthPlugin[]): void {
  for (const { id, schema } of plugins) {
    if (id === "seat-sync") return;
    const { modelName, fields = {} } = schema?.["subscription"] ?? {};
    if (modelName || Object.values(fields).some(({ fieldName }) => fieldName))
      throw new Error(`seatSync() has to come before ${id}(), whose names it would reset`);
  }
}
