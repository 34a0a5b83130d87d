import { beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { startApp, type App, type AppOptions } from "../fixtures/app";
import { deferToEnd } from "../fixtures/defer-to-end";
import { businessPlan, seatPriceId, supportPlan, teamPlan } from "../fixtures/plans";
import type { StripeItem } from "../fixtures/stripe-server";
import { accept, invite, join, must, password, signUp } from "../fixtures/users";
import { createSeatSync, type SeatPlan, type SeatSyncOptions } from "./seat-sync";

const defer = deferToEnd();

/** Members, seats at Stripe, and seats in the row. */
const equal = (count: number) => ({ members: count, quantity: count, seats: count });

const item = (price: string, quantity = 1): StripeItem => ({
  id: `si_of_${price}`,
  price: { id: price },
  quantity,
});

/** Whether it ends with the paid period. */
const ends = ({ stripe }: App, subscriptionId: string) =>
  stripe.subscriptions.get(subscriptionId)!.cancel_at_period_end;

/** The items for seats, with their quantities. */
function seatItems({ stripe }: App, subscriptionId: string) {
  const { items } = stripe.subscriptions.get(subscriptionId)!;
  const seats = items.filter(({ price }) => price.id.endsWith("seat"));
  return Object.fromEntries(seats.map(({ price, quantity }) => [price.id, quantity]));
}

describe.each([
  ["alone", {}],
  ["beside Better Auth's Stripe plugin", { besideStripe: true }],
] satisfies [string, AppOptions][])("%s, the seats are right", (_, mode: AppOptions) => {
  let app: App;
  let plans: SeatPlan[];
  /** Those of a second server. */
  let options: AppOptions;

  beforeAll(async () => {
    const seats = { plans: () => plans };
    app = await startApp(defer, { ...mode, seats });
    options = { ...mode, seats, stripe: app.stripe, databaseUrl: app.databaseUrl };
  });

  beforeEach(() => {
    plans = [teamPlan];
    app.errors.length = 0;
    app.stripe.updates.length = 0;
  });

  test("when members are added, removed, leave, and delete their accounts", async () => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId } = lovelace;
    const bob = await join(owner, organizationId, "Bob");
    const carol = await join(owner, organizationId, "Carol");
    const dave = await join(owner, organizationId, "Dave");
    expect(await app.counts(lovelace)).toEqual(equal(4));

    const removal = { organizationId, memberIdOrEmail: bob.email };
    must(await owner.client.post("/organization/remove-member", removal));
    expect(await app.counts(lovelace)).toEqual(equal(3));
    must(await carol.client.post("/organization/leave", { organizationId }));
    expect(await app.counts(lovelace)).toEqual(equal(2));
    must(await dave.client.post("/delete-user", { password }));
    expect(await app.counts(lovelace)).toEqual(equal(1));
    expect(app.errors).toEqual([]);
  });

  test("when a second one joins while Stripe is being written", async () => {
    const other = await startApp(defer, options);
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    const [bob, carol] = [await signUp(app.url, "Bob"), await signUp(other.url, "Carol")];
    const bobs = await invite(owner, organizationId, bob.email);
    const carols = await invite(owner, organizationId, carol.email);

    // A webhook would make up for it.
    app.stripe.heldWebhooks = [];
    const held = app.stripe.hold("POST");
    const accepted = accept(bob, bobs);
    await held.arrived;
    must(await accept(carol, carols));
    expect(app.stripe.quantity(subscriptionId, seatPriceId)).toBe(3);
    held.release();
    must(await accepted);

    expect(await app.counts(lovelace)).toEqual(equal(3));
    app.stripe.heldWebhooks = undefined;
  });

  test.each(["past_due", "unpaid", "paused"])("once %s is paid, if one joined", async (status) => {
    const lovelace = await app.startOrganization();
    app.stripe.change(lovelace.subscriptionId, { status });
    await app.stripe.delivered();
    await join(lovelace.owner, lovelace.organizationId, "Bob");
    expect(await app.counts(lovelace)).toMatchObject({ members: 2, quantity: 1 });

    app.stripe.change(lovelace.subscriptionId, { status: "active" });

    expect(await app.counts(lovelace)).toEqual(equal(2));
  });

  const raisedPlan = { ...teamPlan, seatPriceId: "price_raised_seat" };
  const oldPlan = { name: "team of old", priceId: "price_old", seatPriceId };
  const otherPlan = { ...businessPlan, lookupKey: "business" };
  const otherSeatPriceId = businessPlan.seatPriceId;
  const lines = Array.from({ length: 12 }, (_, index) => item(`price_line_${index}`));
  const base = item(businessPlan.priceId);
  const lookedUp = { ...item("price_1"), price: { id: "price_1", lookup_key: "business" } };

  test.each([
    ["of an item that is not among the first ten", seatPriceId, [...lines, item(seatPriceId)]],
    ["when there is no item for seats yet", seatPriceId, [item("price_base")]],
    ["at an old price", seatPriceId, [item("price_old"), item(seatPriceId)]],
    ["of the plan that Stripe bills", otherSeatPriceId, [base, item(otherSeatPriceId)]],
    ["of that plan, without an item for seats", otherSeatPriceId, [base]],
    ["of that plan, by its lookup key", otherSeatPriceId, [lookedUp]],
  ])("%s, whatever plan the row says", async (_, priceId, items) => {
    const { owner, organizationId, subscriptionId } = await app.startOrganization();
    app.stripe.subscriptions.get(subscriptionId)!.items = items;
    plans = [teamPlan, oldPlan, otherPlan];

    await join(owner, organizationId, "Bob");
    await app.stripe.delivered();

    expect(seatItems(app, subscriptionId)).toEqual({ [priceId]: 2 });
  });

  test("on one item when the price of a seat is raised", async () => {
    const lovelace = await app.startOrganization();
    plans = [raisedPlan, oldPlan];

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    // Better Auth's Stripe plugin adds an item at the price of the plan, so this one is kept.
    const priceId = mode.besideStripe ? raisedPlan.seatPriceId : seatPriceId;
    expect(await app.counts(lovelace, priceId)).toEqual(equal(2));
    expect(seatItems(app, lovelace.subscriptionId)).toEqual({ [priceId]: 2 });
  });

  test("of each subscription that has seats, and one without them is left alone", async () => {
    const lovelace = await app.startOrganization();
    plans = [teamPlan, supportPlan, businessPlan];
    const add = (plan: string, priceId: string) =>
      app.addSubscription(lovelace.organizationId, { plan, items: [item(priceId)] });
    const support = await add("support", supportPlan.priceId);
    const business = await add("business", businessPlan.priceId);

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(await app.counts(lovelace)).toEqual(equal(2));
    expect(seatItems(app, business)).toEqual({ [businessPlan.seatPriceId]: 2 });
    expect(app.stripe.subscriptions.get(support)!.items).toEqual([item(supportPlan.priceId)]);
  });

  test.each(["active", "past_due"])("none, so what is %s ends, without members", async (status) => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    app.stripe.change(subscriptionId, { status });
    await app.stripe.delivered();

    must(await owner.client.post("/delete-user", { password }));
    await app.stripe.delivered();
    expect(ends(app, subscriptionId)).toBe(true);

    const { userId } = await signUp(app.url, "Bob");
    await app.auth.api.addMember({ body: { userId, organizationId, role: "owner" } });
    await app.stripe.delivered();
    expect(ends(app, subscriptionId)).toBe(false);
    app.stripe.change(subscriptionId, { status: "active" });
    expect(await app.counts(lovelace)).toEqual(equal(1));
  });

  test("when Stripe fails as the last member goes: it ends when another server gets a webhook", async () => {
    const lovelace = await app.startOrganization();
    app.stripe.fault = 500;
    must(await lovelace.owner.client.post("/delete-user", { password }));
    app.stripe.fault = undefined;
    expect(app.errors[0]).toMatch(/^Event handler failed: organization.member.removed .*Error/);
    // From now on it gets the webhooks, and has seen nothing of this.
    await startApp(defer, options);

    app.stripe.change(lovelace.subscriptionId, {});

    expect(await app.counts(lovelace)).toEqual(equal(0));
    expect(ends(app, lovelace.subscriptionId)).toBe(true);
  });

  test("and what the customer has canceled stays canceled", async () => {
    const lovelace = await app.startOrganization();
    app.stripe.change(lovelace.subscriptionId, { cancel_at_period_end: true });

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(await app.counts(lovelace)).toEqual(equal(2));
    expect(ends(app, lovelace.subscriptionId)).toBe(true);
  });

  test("and the subscriptions of a user, and of anything without seats, are left alone", async () => {
    const { userId } = await signUp(app.url, "Bob");
    const ids = [
      await app.addSubscription(userId),
      await app.addSubscription("workspace_1", { items: [item(teamPlan.priceId)] }),
    ];

    for (const id of ids) app.stripe.change(id, {});
    await app.stripe.delivered();

    expect(app.stripe.updates).toEqual([]);
    expect(app.errors).toEqual([]);
  });
});

describe("the calls to Stripe", () => {
  let app: App;

  beforeAll(async () => {
    app = await startApp(defer);
  });

  /** A handler, and the names of the adapter's methods that it calls. */
  function createHandler(options: Partial<SeatSyncOptions> = {}) {
    const calls: string[] = [];
    const adapter = new Proxy(app.adapter, {
      get(target, name, receiver) {
        calls.push(String(name));
        return Reflect.get(target, name, receiver);
      },
    });
    const stripe = app.stripe.client();
    return {
      calls,
      syncSeats: createSeatSync({ adapter }, { stripe, plans: [teamPlan], ...options }),
    };
  }

  test.each([undefined, "always_invoice" as const])(
    "change the quantity of the item, with the plan's proration behaviour %s",
    async (prorationBehavior) => {
      const { organizationId, subscriptionId } = await app.startOrganization();
      app.stripe.subscriptions.get(subscriptionId)!.items[0]!.quantity = 2;

      await createHandler({ plans: [{ ...teamPlan, prorationBehavior }] }).syncSeats({
        organizationId,
      });

      expect(app.stripe.updates).toEqual([
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
    const { owner, organizationId } = await app.startOrganization(subscription);

    await join(owner, organizationId, "Bob");

    expect(app.stripe.updates).toHaveLength(updates);
    expect(app.errors).toEqual([]);
  });

  test("end the subscription of a deleted organization, once for all of its members", async () => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    await join(owner, organizationId, "Bob");

    must(await owner.client.post("/organization/delete", { organizationId }));
    expect(await app.counts(lovelace)).toEqual(equal(0));
    expect(ends(app, subscriptionId)).toBe(true);

    app.stripe.calls = 0;
    const { calls, syncSeats } = createHandler();
    await syncSeats({ organizationId, action: "removed" });
    expect(calls).toEqual(["findMany", "count"]);
    expect(app.stripe.calls).toBe(0);
  });

  test("are made after an error, also where the row has the number of members", async () => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId } = lovelace;
    // A webhook would make up for it.
    app.stripe.heldWebhooks = [];
    const held = app.stripe.hold("POST");
    const joined = join(owner, organizationId, "Bob");
    await held.arrived;
    app.stripe.fault = "lost reply";
    held.release();
    const bob = await joined;
    app.stripe.fault = undefined;

    must(await bob.client.post("/organization/leave", { organizationId }));

    expect(await app.counts(lovelace)).toEqual(equal(1));
    app.stripe.heldWebhooks = undefined;
  });

  test("are shared by events at the same time: a hundred take two syncs", async () => {
    const { organizationId } = await app.startOrganization();
    const { calls, syncSeats } = createHandler();
    app.stripe.calls = 0;

    await Promise.all(Array.from({ length: 100 }, () => syncSeats({ organizationId })));

    expect(app.stripe.calls).toBe(2);
    expect(calls.filter((call) => call === "findMany")).toHaveLength(2);
  });

  test("hold up a request for five seconds by default, and take effect later", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const items = [item(seatPriceId, 2)];
    const { organizationId, subscriptionId } = await app.startOrganization({ items });
    app.stripe.subscriptions.get(subscriptionId)!.items = items;

    const held = app.stripe.hold("GET");
    const outcome = createHandler().syncSeats({ organizationId }).catch(String);
    await held.arrived;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await outcome).toBe(
      `Error: Seat sync of ${organizationId} takes longer than 5000 ms, and goes on`,
    );
    vi.useRealTimers();
    held.release();

    await expect.poll(() => app.stripe.quantity(subscriptionId, seatPriceId)).toBe(1);
  });
});
