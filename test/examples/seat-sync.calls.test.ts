import { organization } from "better-auth/plugins";
import Stripe from "stripe";
import { beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { commonOptions, startUp } from "../fixtures/auth-server";
import { deferToEnd } from "../fixtures/defer-to-end";
import { seatPriceId, teamPlan } from "../fixtures/stripe-server";
import { createSdkShop, createShop, startShop, type Shop } from "../fixtures/shop";
import { join, expectOk, signUp } from "../fixtures/users";
import { createSeatSync, seatSync, type SeatSyncOptions } from "./seat-sync";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();
const supportPlan = { name: "support" };
let shop: Shop;

beforeAll(async () => {
  shop = await startShop(defer, createSdkShop);
  // Webhooks would make up for what a call gets wrong.
  shop.stripe.webhookUrl = undefined;
});

beforeEach(() => void (shop.logged.length = 0));

function createHandler(options: Partial<SeatSyncOptions> = {}, adapter = shop.adapter) {
  const log = (...message: unknown[]) => shop.logged.push(message.join(" "));
  const stripe = shop.stripe.client();
  const context = { adapter, logger: { error: log, warn: log } };
  return createSeatSync(context, { stripe, plans: [teamPlan], ...options });
}

/** Items with these quantities; after a slash, the lookup key of a price. */
const itemsOf = (quantities: Record<string, number>) =>
  Object.entries(quantities).map(([name, quantity]) => {
    const [id, lookup_key] = name.split("/") as [string, string];
    return { id: `si_${id}`, price: { id, ...(lookup_key && { lookup_key }) }, quantity };
  });

/** The quantities of the prices by now. */
function quantities({ subscriptionId }: { subscriptionId: string }) {
  const sums: Record<string, number> = {};
  for (const { price, quantity = 1 } of shop.stripe.subscriptions.get(subscriptionId)!.items)
    sums[price.id] = (sums[price.id] ?? 0) + quantity;
  return sums;
}

describe("the items of a subscription", () => {
  const oldPlan = { name: "team of old", priceId: "price_old", seatPriceId };
  const business = "price_business_seat";
  const monthly = { name: "business", priceId: "price_business", lookupKey: "business" };
  const annual = { annualDiscountPriceId: "price_year", annualDiscountLookupKey: "year" };
  const plans = [teamPlan, oldPlan, { ...monthly, ...annual, seatPriceId: business }];
  const raised = [{ ...teamPlan, seatPriceId: "price_raised_seat" }, oldPlan];
  const twelve = Object.fromEntries([..."abcdefghijkl"].map((letter) => [`price_${letter}`, 1]));

  test.each([
    ["is found after the first ten", seatPriceId, plans, { ...twelve, price_seat: 5 }],
    ["is added when there is none for seats yet", seatPriceId, plans, { price_base: 1 }],
    ["may be at an old price", seatPriceId, plans, { price_old: 1, price_seat: 5 }],
    ["is kept when the price of a seat is raised", seatPriceId, raised, { price_seat: 5 }],
    ["is that of the plan that is billed", business, plans, { price_business: 1, [business]: 5 }],
    ["is added for that plan", business, plans, { price_business: 1 }],
    ["is added for that plan, paid by the year", business, plans, { price_year: 1 }],
    ["is added by a lookup key", business, plans, { "price_1/business": 1 }],
    ["is added by that of a year", business, plans, { "price_1/year": 1 }],
  ])("the item for seats %s", async (_, priceId, plans, items) => {
    const subscribed = await shop.startOrganization({ items: itemsOf(items) });
    const before = quantities(subscribed);

    await createHandler({ plans: async () => plans })(subscribed);

    expect(quantities(subscribed)).toEqual({ ...before, [priceId]: 1 });
  });

  test("the item for seats is the plan's, if there are several; a warning names the others, which stay", async () => {
    const items = itemsOf({ [business]: 5, price_seat: 5 });
    const subscribed = await shop.startOrganization({ items });

    await createHandler({ plans })(subscribed);

    expect(quantities(subscribed)).toEqual({ [business]: 5, price_seat: 1 });
    const others = `other seats of ${subscribed.subscriptionId} alone: si_${business} (${business})`;
    expect(shop.logged).toEqual([`Seat sync left ${others}`]);
  });
});

describe("a change of an organization", () => {
  const stale = { items: itemsOf({ price_seat: 3 }) };

  test.each([undefined, "always_invoice" as const])(
    "a sync changes the quantity of the item, with the plan's proration behaviour %s",
    async (prorationBehavior) => {
      const subscribed = await shop.startOrganization(stale);

      await createHandler({ plans: [{ ...teamPlan, prorationBehavior }] })(subscribed);

      const change = { "items[0][id]": "si_price_seat", "items[0][quantity]": "1" };
      const proration_behavior = prorationBehavior ?? "create_prorations";
      expect(shop.stripe.updates).toEqual([{ ...change, proration_behavior }]);
    },
  );

  test.each([
    [1, { status: "past_due", stripeStatus: "trialing" }],
    [0, { status: "active", stripeStatus: "past_due" }],
    [0, { status: "active", stripeStatus: "canceled" }],
    [0, { status: "canceled" }],
    [0, { status: "incomplete" }],
    [0, { plan: "unknown", items: itemsOf({ price_base: 1 }) }],
  ])("a sync makes %i updates of the subscription %j", async (updates, subscription) => {
    const { owner, organizationId } = await shop.startOrganization(subscription);

    await join(owner, organizationId, "Bob");

    expect(shop.stripe.updates).toHaveLength(updates);
    expect(shop.logged).toEqual([]);
  });

  test("a sync leaves what has no members alone if it is a user's, or if somebody was added", async () => {
    const { userId } = await signUp(shop.url, "Bob");
    const [users, another] = [await shop.addSubscription(userId), await shop.addSubscription("1")];
    const syncSeats = createHandler();

    await syncSeats({ organizationId: userId, action: "removed" });
    await syncSeats({ organizationId: "1", action: "added" });

    expect(shop.stripe.quantity(users, seatPriceId)).toBe(1);
    expect(shop.stripe.quantity(another, seatPriceId)).toBe(1);
    expect(shop.logged).toEqual([expect.stringContaining(`left ${another} alone`)]);
  });

  test("a sync ends the subscription of a deleted organization, once for all of its members", async () => {
    const lovelace = await shop.startOrganization();
    const { owner, organizationId } = lovelace;
    await join(owner, organizationId, "Bob");

    expectOk(await owner.client.post("/organization/delete", { organizationId }));
    expect(await shop.counts(lovelace)).toEqual({ members: 0, quantity: 0, seats: 0 });
    expect(shop.stripe.updates.at(-1)).toMatchObject({ cancel_at_period_end: "true" });

    shop.stripe.calls = 0;
    await createHandler()({ organizationId, action: "removed" });
    expect(shop.stripe.calls).toBe(0);
  });

  test("a sync asks Stripe after an error, also where the row has the number of members", async () => {
    const lovelace = await shop.startOrganization();
    const { owner, organizationId } = lovelace;
    shop.stripe.fault = "lost reply";
    const { client } = await join(owner, organizationId, "Bob");
    shop.stripe.fault = undefined;

    expectOk(await client.post("/organization/leave", { organizationId }));

    expect(await shop.counts(lovelace)).toEqual({ members: 1, quantity: 1, seats: 1 });
  });

  test("a sync is of each subscription, and its error names each that failed", async () => {
    const { organizationId, subscriptionId } = await shop.startOrganization();
    const missing = [subscriptionId, await shop.addSubscription(organizationId)];
    for (const id of missing) shop.stripe.subscriptions.delete(id);
    const support = { plan: "support", items: itemsOf({ price_support: 3 }) };
    const another = { subscriptionId: await shop.addSubscription(organizationId, support) };
    const last = { subscriptionId: await shop.addSubscription(organizationId, stale) };

    const synced = createHandler({ plans: [teamPlan, supportPlan] })({ organizationId });

    await expect(synced).rejects.toThrow(/No such .*; .*No such/);
    expect(quantities(another)).toEqual({ price_support: 3 });
    expect(quantities(last)).toEqual({ price_seat: 1 });
  });

  test("a sync counts again after it wrote, when a member joined at another server meanwhile", async () => {
    const lovelace = await shop.startOrganization(stale);
    const held = shop.stripe.hold("POST");
    const synced = createHandler()(lovelace);
    await held.arrived;
    await join(lovelace.owner, lovelace.organizationId, "Bob");
    expect(quantities(lovelace)).toEqual({ price_seat: 2 });
    held.release();
    await synced;

    expect(await shop.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });

  test("a sync starts after those of the same organization, one after another", async () => {
    const subscribed = await shop.startOrganization();
    shop.stripe.subscriptions.get(subscribed.subscriptionId)!.items = itemsOf({ price_seat: 3 });
    const starts: (() => void)[] = [];
    const findMany: typeof shop.adapter.findMany = async (query) => {
      await new Promise<void>((resolve) => starts.push(resolve));
      return shop.adapter.findMany(query);
    };
    const syncSeats = createHandler({}, { ...shop.adapter, findMany });

    // The row has the number of members, so the first does nothing.
    const synced = [syncSeats({ ...subscribed, action: "added" }), syncSeats(subscribed)];
    for (const index of [0, 1, 2, 3]) {
      await new Promise(setImmediate);
      expect(starts).toHaveLength(index + 1);
      starts[index]!();
      await synced[index];
      if (index < 2) synced.push(syncSeats(subscribed));
    }
    expect(quantities(subscribed)).toEqual({ price_seat: 1 });
  });

  test("a sync takes five seconds of a request, also of one that waits; both take effect later", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const lovelace = await shop.startOrganization(stale);
    const syncSeats = createHandler();
    const first = shop.stripe.hold("GET");
    const outcomes = Promise.allSettled([syncSeats(lovelace), syncSeats(lovelace)]);
    await first.arrived;
    await vi.advanceTimersByTimeAsync(5_000);
    const message = `Seat sync of ${lovelace.organizationId} takes longer than 5000 ms, and goes on`;
    const late = { status: "rejected", reason: new Error(message) };
    expect(await outcomes).toEqual([late, late]);
    vi.useRealTimers();

    // Another organization does not wait.
    const engine = await shop.startOrganization(stale);
    await syncSeats(engine);
    expect(quantities(engine)).toEqual({ price_seat: 1 });

    // The first fails, and the second goes on.
    const second = shop.stripe.hold("GET");
    shop.stripe.fault = 500;
    first.release();
    await second.arrived;
    shop.stripe.fault = undefined;
    second.release();
    await expect.poll(() => quantities(lovelace)).toEqual({ price_seat: 1 });
    const failure = `Seats were not synced: ${lovelace.organizationId} Error: Stripe is unavailable`;
    expect(shop.logged).toEqual([expect.stringContaining(failure)]);
  });

  test("a sync gives a call to Stripe five seconds too", async () => {
    const subscribed = await shop.startOrganization();
    shop.stripe.fault = "hang";
    onTestFinished(() => void (shop.stripe.fault = undefined));

    await createHandler({ timeLimit: 50 })(subscribed).catch(() => {});

    await expect.poll(() => shop.logged).toEqual([expect.stringContaining("were not synced")]);
  });
});

describe("at the start", () => {
  const stripeClient = new Stripe("sk_test");
  const sync = seatSync({ stripe: stripeClient, plans: [teamPlan] });
  const withoutSeats = seatSync({ stripe: stripeClient, plans: [supportPlan] });

  test("the table is as stripe() declares it; seatSync() after it is an error", async () => {
    const options = { ...commonOptions, baseURL: "http://localhost", logger: { disabled: true } };
    const { plugins } = createShop({ Stripe, options }).options;

    const { subscription } = (await startUp({ plugins })).tables;
    expect(subscription!.fields["stripeSubscriptionId"]!.unique).toBeUndefined();

    await expect(startUp({ plugins: [...plugins].reverse() })).rejects.toThrow(
      "seatSync() has to come before stripe(), whose table it would change",
    );
  });

  test.each([
    ["Seat sync is off: there are no members", [standardEvents(), sync]],
    ["Seat sync is off: none of its plans has", [organization(), standardEvents(), withoutSeats]],
    ["Seat sync does not find the plugin standard-events", [organization(), sync]],
  ])("it is logged once: %s", async (warning, plugins) => {
    expect((await startUp({ plugins })).logged).toEqual([expect.stringContaining(warning)]);
  });
});
