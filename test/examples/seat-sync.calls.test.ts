import { stripe } from "@better-auth/stripe";
import { organization } from "better-auth/plugins";
import { beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { startUp } from "../fixtures/auth-server";
import { deferToEnd } from "../fixtures/defer-to-end";
import {
  businessPlan,
  seatPriceId,
  stripeClient,
  type StripeItem,
  supportPlan,
  teamPlan,
  webhookSecret,
} from "../fixtures/stripe-server";
import { createSdkShop, startShop, type Shop } from "../fixtures/shop";
import { join, must, signUp } from "../fixtures/users";
import { createSeatSync, seatSync, type SeatChange, type SeatSyncOptions } from "./seat-sync";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();

const item = (price: string, quantity = 1): StripeItem => ({
  id: `si_of_${price}`,
  price: { id: price },
  quantity,
});

let shop: Shop;

beforeAll(async () => {
  shop = await startShop(defer, createSdkShop);
  // Webhooks would make up for what a call gets wrong.
  shop.stripe.webhookUrl = undefined;
});

beforeEach(() => {
  shop.logged.length = 0;
});

function createHandler(options: Partial<SeatSyncOptions> = {}, adapter = shop.adapter) {
  const log = (...message: unknown[]) => shop.logged.push(message.join(" "));
  const logger = { error: log, warn: log };
  const stripe = shop.stripe.client();
  return createSeatSync({ adapter, logger }, { stripe, plans: [teamPlan], ...options });
}

describe("the item", () => {
  /** The items for seats, with their quantities. */
  function seatItems(subscriptionId: string) {
    const { items } = shop.stripe.subscriptions.get(subscriptionId)!;
    const seats = items.filter(({ price }) => price.id.endsWith("seat"));
    return seats.map(({ price, quantity }) => [price.id, quantity]);
  }

  const raisedPlan = { ...teamPlan, seatPriceId: "price_raised_seat" };
  const oldPlan = { name: "team of old", priceId: "price_old", seatPriceId };
  const otherPlan = {
    ...businessPlan,
    lookupKey: "business",
    annualDiscountPriceId: "price_business_annual",
    annualDiscountLookupKey: "business annual",
  };
  const plans = [teamPlan, oldPlan, otherPlan];
  const raised = [raisedPlan, oldPlan];
  const otherSeatPriceId = businessPlan.seatPriceId;
  const lines = Array.from({ length: 12 }, (_, index) => item(`price_line_${index}`));
  const base = item(businessPlan.priceId);
  const annual = item("price_business_annual");
  const lookedUp = (lookup_key: string) => ({ id: "si_1", price: { id: "price_1", lookup_key } });
  const seat = item(seatPriceId, 5);
  const otherSeat = item(otherSeatPriceId, 5);

  test.each([
    ["is found when it is not among the first ten", seatPriceId, plans, [...lines, seat]],
    ["is added when there is none for seats yet", seatPriceId, plans, [item("price_base")]],
    ["may be at an old price", seatPriceId, plans, [item("price_old"), seat]],
    ["is that of the plan that Stripe bills", otherSeatPriceId, plans, [base, otherSeat]],
    ["is added for that plan", otherSeatPriceId, plans, [base]],
    ["is added for that plan, paid by the year", otherSeatPriceId, plans, [annual]],
    ["is added by a lookup key", otherSeatPriceId, plans, [lookedUp("business")]],
    ["is added by that of a year", otherSeatPriceId, plans, [lookedUp("business annual")]],
    ["is kept when the price of a seat is raised", seatPriceId, raised, [seat]],
  ])("%s, whatever plan the row says", async (_, priceId, plans, items) => {
    const { organizationId, subscriptionId } = await shop.startOrganization();
    shop.stripe.subscriptions.get(subscriptionId)!.items = structuredClone(items);

    await createHandler({ plans: async () => plans })({ organizationId });

    expect(seatItems(subscriptionId)).toEqual([[priceId, 1]]);
  });

  test("is the plan's, where there are several; a warning names the others, which stay", async () => {
    const { organizationId, subscriptionId } = await shop.startOrganization();
    const { items } = shop.stripe.subscriptions.get(subscriptionId)!;
    items.unshift(otherSeat);

    items.find(({ price }) => price.id === seatPriceId)!.quantity = 2;

    await createHandler({ plans })({ organizationId });

    expect(seatItems(subscriptionId)).toEqual([
      [otherSeatPriceId, 5],
      [seatPriceId, 1],
    ]);
    expect(shop.logged).toEqual([
      `Seat sync left other seats of ${subscriptionId} alone: ${otherSeat.id} (${otherSeatPriceId})`,
    ]);
  });

  test("is that of each subscription with seats, and those without them are left alone", async () => {
    const { organizationId, subscriptionId } = await shop.startOrganization();
    const add = (plan: string, priceId: string) =>
      shop.addSubscription(organizationId, { plan, items: [item(priceId)] });
    const support = await add("support", supportPlan.priceId);
    const business = await add("business", businessPlan.priceId);
    shop.stripe.subscriptions.get(subscriptionId)!.items[0]!.quantity = 5;

    const plans = [teamPlan, supportPlan, businessPlan];
    await createHandler({ plans })({ organizationId });

    expect(seatItems(subscriptionId)).toEqual([[seatPriceId, 1]]);
    expect(seatItems(business)).toEqual([[businessPlan.seatPriceId, 1]]);
    expect(shop.stripe.subscriptions.get(support)!.items).toEqual([item(supportPlan.priceId)]);
  });
});

describe("the calls to Stripe", () => {
  test.each([undefined, "always_invoice" as const])(
    "change the quantity of the item, with the plan's proration behaviour %s",
    async (prorationBehavior) => {
      const { organizationId, subscriptionId } = await shop.startOrganization();
      shop.stripe.subscriptions.get(subscriptionId)!.items[0]!.quantity = 2;

      const plans = [{ ...teamPlan, prorationBehavior }];
      await createHandler({ plans })({ organizationId });

      expect(shop.stripe.updates).toEqual([
        {
          "items[0][id]": `si_${organizationId}`,
          "items[0][quantity]": "1",
          proration_behavior: prorationBehavior ?? "create_prorations",
        },
      ]);
    },
  );

  test.each([
    [1, { status: "past_due", stripeStatus: "trialing" }],
    [0, { status: "active", stripeStatus: "past_due" }],
    [0, { status: "active", stripeStatus: "canceled" }],
    [0, { status: "canceled" }],
    [0, { status: "incomplete" }],
    [0, { plan: "unknown", items: [item("price_base")] }],
  ])("are %i updates of the subscription %j", async (updates, subscription) => {
    const { owner, organizationId } = await shop.startOrganization(subscription);

    await join(owner, organizationId, "Bob");

    expect(shop.stripe.updates).toHaveLength(updates);
    expect(shop.logged).toEqual([]);
  });

  test.each([{}, { action: "added" }, { action: "removed" }])(
    "are none for the subscription of a user, also if an organization has the same id, after %j",
    async (change) => {
      const { userId } = await signUp(shop.url, "Bob");
      await shop.addSubscription(userId);
      shop.stripe.calls = 0;

      await createHandler()({ organizationId: userId, ...change });

      expect(shop.stripe.calls).toBe(0);
      expect(shop.logged).toEqual([]);
    },
  );

  test("are none that change it when somebody was added, and no member is found", async () => {
    const subscriptionId = await shop.addSubscription("workspace_1");

    await createHandler()({ organizationId: "workspace_1", action: "added" });

    expect(shop.stripe.quantity(subscriptionId, seatPriceId)).toBe(1);
    expect(shop.logged).toEqual([expect.stringContaining(`left ${subscriptionId} alone`)]);
  });

  test("end the subscription of a deleted organization, once for all of its members", async () => {
    const lovelace = await shop.startOrganization();
    const { owner, organizationId } = lovelace;
    await join(owner, organizationId, "Bob");

    must(await owner.client.post("/organization/delete", { organizationId }));
    expect(await shop.counts(lovelace)).toEqual({ members: 0, quantity: 0, seats: 0 });
    expect(shop.stripe.updates.at(-1)).toMatchObject({ cancel_at_period_end: "true" });

    shop.stripe.calls = 0;
    await createHandler()({ organizationId, action: "removed" });
    expect(shop.stripe.calls).toBe(0);
  });

  test("are made after an error, also where the row has the number of members", async () => {
    const lovelace = await shop.startOrganization();
    const { owner, organizationId } = lovelace;
    const held = shop.stripe.hold("POST");
    const joined = join(owner, organizationId, "Bob");
    await held.arrived;
    shop.stripe.fault = "lost reply";
    held.release();
    const bob = await joined;
    shop.stripe.fault = undefined;

    must(await bob.client.post("/organization/leave", { organizationId }));

    expect(await shop.counts(lovelace)).toEqual({ members: 1, quantity: 1, seats: 1 });
  });

  test("hold up a request for five seconds by default, also behind another, and take effect later", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const { organizationId, subscriptionId } = await shop.startOrganization();
    shop.stripe.subscriptions.get(subscriptionId)!.items = [item(seatPriceId, 2)];

    const held = shop.stripe.hold("GET");
    const syncSeats = createHandler();
    const outcomes = Promise.allSettled([1, 2].map(() => syncSeats({ organizationId })));
    await held.arrived;
    await vi.advanceTimersByTimeAsync(5_000);
    const reason = new Error(
      `Seat sync of ${organizationId} takes longer than 5000 ms, and goes on`,
    );
    expect(await outcomes).toEqual([1, 2].map(() => ({ status: "rejected", reason })));
    vi.useRealTimers();
    held.release();

    await expect.poll(() => shop.stripe.quantity(subscriptionId, seatPriceId)).toBe(1);
  });

  test("have that time too, and a failure after it is logged", async () => {
    const { organizationId } = await shop.startOrganization();
    shop.stripe.fault = "hang";
    onTestFinished(() => void (shop.stripe.fault = undefined));

    const synced = createHandler({ timeLimit: 50 })({ organizationId });

    await expect(synced).rejects.toThrow("takes longer than 50 ms");
    const failure = `Seats were not synced: ${organizationId}`;
    await expect.poll(() => shop.logged).toEqual([expect.stringContaining(failure)]);
  });
});

describe("changes of an organization at the same time", () => {
  /** A subscription that bills two seats too many, whatever its row says. */
  async function startStale() {
    const lovelace = await shop.startOrganization();
    shop.stripe.subscriptions.get(lovelace.subscriptionId)!.items[0]!.quantity = 3;
    return lovelace;
  }

  test("are synced one after another", async () => {
    const lovelace = await startStale();
    const { organizationId } = lovelace;
    const underWay = { now: 0, most: 0 };
    const findMany: typeof shop.adapter.findMany = (query) => {
      underWay.most = Math.max(underWay.most, ++underWay.now);
      return shop.adapter.findMany(query);
    };
    const handle = createHandler({}, { ...shop.adapter, findMany });
    const syncSeats = (change: SeatChange) => handle(change).finally(() => underWay.now--);

    // The row has the number of members, so the first does nothing.
    const synced = [syncSeats({ organizationId, action: "added" }), syncSeats(lovelace)];
    for (const each of [0, 1, 2]) {
      await synced[each];
      synced.push(syncSeats(lovelace));
    }
    await Promise.all(synced);

    expect(underWay.most).toBe(1);
    expect(await shop.counts(lovelace)).toMatchObject({ members: 1, quantity: 1 });
  });

  test("do not hold up those of another", async () => {
    const [lovelace, engine] = [await startStale(), await startStale()];
    const syncSeats = createHandler();
    const held = shop.stripe.hold("GET");
    const synced = syncSeats(lovelace);
    await held.arrived;

    await syncSeats(engine);
    expect(await shop.counts(engine)).toMatchObject({ quantity: 1 });

    held.release();
    await synced;
  });

  test("go on after one that failed", async () => {
    const lovelace = await startStale();
    const syncSeats = createHandler();
    const held = shop.stripe.hold("GET");
    const failed = syncSeats(lovelace).catch(String);
    const synced = syncSeats(lovelace);
    await held.arrived;
    const next = shop.stripe.hold("GET");
    shop.stripe.fault = 500;
    held.release();
    expect(await failed).toContain("Stripe is unavailable");
    await next.arrived;
    shop.stripe.fault = undefined;
    next.release();
    await synced;

    expect(await shop.counts(lovelace)).toMatchObject({ quantity: 1 });
  });

  test("are made for each of its subscriptions, and name each that failed", async () => {
    const lovelace = await startStale();
    const { organizationId, subscriptionId } = lovelace;
    shop.stripe.subscriptions.delete(subscriptionId);
    const missing = await shop.addSubscription(organizationId);
    shop.stripe.subscriptions.delete(missing);
    const last = await shop.addSubscription(organizationId);
    shop.stripe.subscriptions.get(last)!.items[0]!.quantity = 3;

    const synced = createHandler()({ organizationId });

    await expect(synced).rejects.toThrow(/No such .*; .*No such/);
    expect(shop.stripe.quantity(last, seatPriceId)).toBe(1);
  });
});

describe("at the start", () => {
  const plans = [teamPlan];
  const sync = seatSync({ stripe: stripeClient(1), plans });
  const withoutSeats = seatSync({ stripe: stripeClient(1), plans: [supportPlan] });
  const checkout = (schema = {}) =>
    stripe({
      stripeClient: stripeClient(1),
      stripeWebhookSecret: webhookSecret,
      schema,
      organization: { enabled: true },
      subscription: { enabled: true, plans },
    });

  test("the table is as stripe() declares it", async () => {
    const named = checkout({ subscription: { modelName: "abonnement" } });

    const { tables } = await startUp({ plugins: [organization(), standardEvents(), sync, named] });

    expect(tables["subscription"]!.modelName).toBe("abonnement");
    expect(tables["subscription"]!.fields["stripeSubscriptionId"]!.unique).toBeUndefined();
  });

  test("after stripe(), it is an error that says why", async () => {
    const plugins = [organization(), standardEvents(), checkout(), sync];

    await expect(startUp({ plugins })).rejects.toThrow(
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
