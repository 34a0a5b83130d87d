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
import { join, must } from "../fixtures/users";
import { createSeatSync, seatSync, type SeatSyncOptions } from "./seat-sync";
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

function createHandler(options: Partial<SeatSyncOptions> = {}) {
  const log = (...message: unknown[]) => shop.logged.push(message.join(" "));
  const logger = { error: log, warn: log };
  const stripe = shop.stripe.client();
  return createSeatSync(
    { adapter: shop.adapter, logger },
    { stripe, plans: [teamPlan], ...options },
  );
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
  const otherPlan = { ...businessPlan, lookupKey: "business" };
  const plans = [teamPlan, oldPlan, otherPlan];
  const raised = [raisedPlan, oldPlan];
  const otherSeatPriceId = businessPlan.seatPriceId;
  const lines = Array.from({ length: 12 }, (_, index) => item(`price_line_${index}`));
  const base = item(businessPlan.priceId);
  const lookedUp = { ...item("price_1"), price: { id: "price_1", lookup_key: "business" } };
  const seat = item(seatPriceId, 5);
  const otherSeat = item(otherSeatPriceId, 5);

  test.each([
    ["is found when it is not among the first ten", seatPriceId, plans, [...lines, seat]],
    ["is added when there is none for seats yet", seatPriceId, plans, [item("price_base")]],
    ["may be at an old price", seatPriceId, plans, [item("price_old"), seat]],
    ["is that of the plan that Stripe bills", otherSeatPriceId, plans, [base, otherSeat]],
    ["is added for that plan", otherSeatPriceId, plans, [base]],
    ["is added for that plan, by its lookup key", otherSeatPriceId, plans, [lookedUp]],
    ["is kept when the price of a seat is raised", seatPriceId, raised, [seat]],
    [
      "is the only one that is kept",
      "price_raised_seat",
      raised,
      [seat, item("price_raised_seat")],
    ],
  ])("%s, whatever plan the row says", async (_, priceId, plans, items) => {
    const { organizationId, subscriptionId } = await shop.startOrganization();
    shop.stripe.subscriptions.get(subscriptionId)!.items = structuredClone(items);

    await createHandler({ plans: async () => plans })({ organizationId });

    expect(seatItems(subscriptionId)).toEqual([[priceId, 1]]);
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

  test("are shared by events at the same time: a hundred take two syncs", async () => {
    const { organizationId } = await shop.startOrganization();
    const syncSeats = createHandler();
    shop.stripe.calls = 0;

    await Promise.all(Array.from({ length: 100 }, () => syncSeats({ organizationId })));

    expect(shop.stripe.calls).toBe(2);
  });

  test("hold up a request for five seconds by default, and take effect later", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const { organizationId, subscriptionId } = await shop.startOrganization();
    shop.stripe.subscriptions.get(subscriptionId)!.items = [item(seatPriceId, 2)];

    const held = shop.stripe.hold("GET");
    const outcome = createHandler()({ organizationId }).catch(String);
    await held.arrived;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await outcome).toBe(
      `Error: Seat sync of ${organizationId} takes longer than 5000 ms, and goes on`,
    );
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

  test("the table has the names that stripe() gives it", async () => {
    const named = checkout({ subscription: { modelName: "abonnement" } });

    const { tables } = await startUp({ plugins: [organization(), standardEvents(), sync, named] });

    expect(tables["subscription"]!.modelName).toBe("abonnement");
  });

  test.each([{ modelName: "abonnement" }, { fields: { seats: "seat_count" } }])(
    "after stripe() with the names %j, it is an error that says why",
    async (subscription) => {
      const plugins = [organization(), standardEvents(), checkout({ subscription }), sync];

      await expect(startUp({ plugins })).rejects.toThrow(
        "seatSync() has to come before stripe(), whose names it would reset",
      );
    },
  );

  test.each([
    ["Seat sync is off: there are no members", [standardEvents(), sync]],
    ["Seat sync is off: none of its plans has", [organization(), standardEvents(), withoutSeats]],
    ["Seat sync does not find the plugin standard-events", [organization(), sync]],
  ])("it is logged once: %s", async (warning, plugins) => {
    expect((await startUp({ plugins })).logged).toEqual([expect.stringContaining(warning)]);
  });
});
