import { stripe as stripePlugin, type StripePlan } from "@better-auth/stripe";
import { getBus } from "@kernia/events";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { organization } from "better-auth/plugins";
import Stripe from "stripe";
import { beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { startApp, theirKey, type AppOptions } from "../fixtures/app";
import { deferToEnd } from "../fixtures/defer-to-end";
import { accept, invite, join, must, password, signUp, type TestUser } from "../fixtures/users";
import { businessPlan, prices, seatPriceId, supportPlan, teamPlan } from "../fixtures/plans";
import { startShop } from "../fixtures/shop";
import {
  stripeClient,
  StripeServer,
  type StripeItem,
  type StripeSubscription,
  webhookSecret,
} from "../fixtures/stripe-server";
import { Recorder } from "../membership-changes/recorder";
import { startPathServer } from "../membership-changes/server";
import { owed, readTables, sorted } from "../membership-changes/expected";
import { checkout } from "../demo/plugins/checkout";
import { createSeatSync, seatSync } from "./seat-sync";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();

type App = Awaited<ReturnType<typeof startApp>>;

/** What the app does where there is no `stripe()` whose callback would: it tells of a change. */
async function tell({ auth }: Pick<App, "auth">, organizationId: string): Promise<void> {
  const bus = getBus(await auth.$context);
  await bus.emit("billing.subscription.changed", { organizationId });
}

const item = (price: string, quantity = 1): StripeItem => ({
  id: `si_of_${price}`,
  price: { id: price },
  quantity,
});

describe.each([
  ["alone", {}],
  ["beside Better Auth's Stripe plugin", { besideStripe: true }],
] satisfies [string, AppOptions][])("%s, the seats are right", (_, options: AppOptions) => {
  const { besideStripe = false } = options;
  let app: App;

  beforeAll(async () => {
    app = await startApp(defer, options);
  });

  beforeEach(() => {
    app.errors.length = 0;
  });

  /** Changes a subscription at Stripe, which then tells the app of it. */
  async function change(
    app: App,
    { organizationId, subscriptionId }: { organizationId: string; subscriptionId: string },
    change: Partial<StripeSubscription>,
  ): Promise<void> {
    app.stripe.change(subscriptionId, change);
    if (besideStripe) return app.stripe.delivered();
    if (change.status !== undefined) {
      await app.adapter.update({
        model: "subscription",
        where: [{ field: "stripeSubscriptionId", value: subscriptionId }],
        update: { status: change.status },
      });
    }
    await tell(app, organizationId);
  }

  /** The items that are for seats, with their quantities. */
  function seatItems(app: App, subscriptionId: string): Record<string, number | undefined> {
    const { items } = app.stripe.subscriptions.get(subscriptionId)!;
    const seats = items.filter(({ price }) => price.id.endsWith("seat"));
    return Object.fromEntries(seats.map(({ price, quantity }) => [price.id, quantity]));
  }

  test("when a second one joins while Stripe is being written", async () => {
    const other = await startApp(defer, {
      ...options,
      databaseUrl: app.databaseUrl,
      stripe: app.stripe,
    });
    const lovelace = await app.startOrganization();
    const { owner, organizationId } = lovelace;
    const [bob, carol] = [await signUp(app.url, "Bob"), await signUp(other.url, "Carol")];
    const bobs = await invite(owner, organizationId, bob.email);
    const carols = await invite(owner, organizationId, carol.email);

    const held = app.stripe.hold("POST");
    const accepted = accept(bob, bobs);
    await held.arrived;
    must(await accept(carol, carols));
    expect(app.stripe.quantity(lovelace.subscriptionId, seatPriceId)).toBe(3);
    held.release();
    must(await accepted);
    await app.stripe.delivered();

    expect(await app.counts(lovelace)).toEqual({ members: 3, quantity: 3, seats: 3 });
    expect(app.errors).toEqual([]);
  });

  test("when one joins between checkout and payment", async () => {
    const owner = await signUp(app.url, "Ada");
    const organization = { name: "Lovelace", slug: `lovelace-${owner.userId}` };
    const { id: organizationId } = must(
      await owner.client.post("/organization/create", organization),
    ).body;
    let subscriptionId: string;
    if (besideStripe) {
      const session = await app.checkOut(owner, organizationId);
      await join(owner, organizationId, "Bob");
      subscriptionId = app.stripe.pay(session);
      await app.stripe.delivered();
    } else {
      await join(owner, organizationId, "Bob");
      subscriptionId = await app.addSubscription(organizationId);
      await tell(app, organizationId);
    }

    expect(await app.counts({ organizationId, subscriptionId })).toEqual({
      members: 2,
      quantity: 2,
      seats: 2,
    });
  });

  test.each(["past_due", "unpaid", "paused"])(
    "once it is paid, when one joined while it was %s",
    async (status) => {
      const lovelace = await app.startOrganization();
      await change(app, lovelace, { status });
      await join(lovelace.owner, lovelace.organizationId, "Bob");
      await app.stripe.delivered();
      expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 1, seats: 1 });

      await change(app, lovelace, { status: "active" });

      expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
    },
  );

  test("when a schedule's next phase has the old quantity", async () => {
    const lovelace = await app.startOrganization();
    const { items } = structuredClone(app.stripe.subscriptions.get(lovelace.subscriptionId)!);
    await join(lovelace.owner, lovelace.organizationId, "Bob");

    await change(app, lovelace, { items });

    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });

  test("when a sync failed, once Stripe tells of anything", async () => {
    const lovelace = await app.startOrganization();
    app.stripe.fault = 500;
    await join(lovelace.owner, lovelace.organizationId, "Bob");
    app.stripe.fault = undefined;
    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 1, seats: 1 });

    await change(app, lovelace, {});

    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });

  test("when webhooks come in the wrong order", async () => {
    const lovelace = await app.startOrganization();
    const { subscriptionId, owner, organizationId } = lovelace;
    const held = (app.stripe.heldWebhooks = []);
    app.stripe.change(subscriptionId, { status: "past_due" });
    await join(owner, organizationId, "Bob");
    app.stripe.change(subscriptionId, { status: "active" });
    app.stripe.heldWebhooks = undefined;
    if (besideStripe) for (const event of [...held].reverse()) await app.stripe.deliver(event);
    else await app.pool.query(`update subscription set status = 'past_due'`);
    await app.stripe.delivered();

    await join(owner, organizationId, "Carol");
    await app.stripe.delivered();

    expect(await app.counts(lovelace)).toEqual({ members: 3, quantity: 3, seats: 3 });
  });

  test("of a seat whose price was raised, on the one item that there is", async () => {
    const raised = { ...teamPlan, seatPriceId: "price_raised_seat" };
    const plans = [teamPlan];
    const shop = await startApp(defer, { ...options, seats: { plans: () => plans } });
    const lovelace = await shop.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    plans.splice(0, 1, raised, { name: "team of old", priceId: "price_old", seatPriceId });

    await join(owner, organizationId, "Bob");
    await join(owner, organizationId, "Carol");
    await shop.stripe.delivered();

    // That plugin adds one at the price of the plan, so this is the one that stays.
    const priceId = besideStripe ? "price_raised_seat" : seatPriceId;
    expect(seatItems(shop, subscriptionId)).toEqual({ [priceId]: 3 });
    expect(await shop.counts(lovelace, priceId)).toEqual({ members: 3, quantity: 3, seats: 3 });
  });

  test("at the old price, when the new one comes with a plan of another name and price", async () => {
    const raised = { name: "team-2", priceId: "price_line_1", seatPriceId: "price_raised_seat" };
    const plans = [raised, teamPlan];
    const shop = await startApp(defer, { ...options, seats: { plans } });
    const lovelace = await shop.startOrganization();

    await join(lovelace.owner, lovelace.organizationId, "Bob");
    await shop.stripe.delivered();

    expect(seatItems(shop, lovelace.subscriptionId)).toEqual({ [seatPriceId]: 2 });
    expect(await shop.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });

  test("when Stripe has switched the plan before the row has", async () => {
    const plans = [teamPlan, businessPlan];
    const shop = await startApp(defer, { ...options, seats: { plans } });
    const lovelace = await shop.startOrganization();
    const items = [item(businessPlan.priceId), item(businessPlan.seatPriceId)];
    const held = (shop.stripe.heldWebhooks = []);
    shop.stripe.change(lovelace.subscriptionId, { items });

    await join(lovelace.owner, lovelace.organizationId, "Bob");
    shop.stripe.heldWebhooks = undefined;
    for (const event of held) if (besideStripe) await shop.stripe.deliver(event);
    await shop.stripe.delivered();

    expect(seatItems(shop, lovelace.subscriptionId)).toEqual({ [businessPlan.seatPriceId]: 2 });
    expect(await shop.counts(lovelace, businessPlan.seatPriceId)).toEqual({
      members: 2,
      quantity: 2,
      seats: 2,
    });
  });

  test("when the plans are a function, which is asked each time", async () => {
    let plans = [supportPlan, teamPlan];
    const shop = await startApp(defer, { ...options, seats: { plans: () => plans } });
    const lovelace = await shop.startOrganization();
    plans = [teamPlan];

    await join(lovelace.owner, lovelace.organizationId, "Bob");
    await shop.stripe.delivered();

    expect(await shop.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });

  test("of a plan whose only price is that of a seat", async () => {
    const plans = [{ ...teamPlan, priceId: seatPriceId }];
    const shop = await startApp(defer, { ...options, seats: { plans } });
    const lovelace = await shop.startOrganization();

    await join(lovelace.owner, lovelace.organizationId, "Bob");
    await shop.stripe.delivered();

    expect(seatItems(shop, lovelace.subscriptionId)).toEqual({ [seatPriceId]: 2 });
    expect(await shop.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });

  test("of each subscription that has seats, and an add-on without seats is left alone", async () => {
    const plans = [teamPlan, supportPlan, businessPlan];
    const shop = await startApp(defer, { ...options, seats: { plans } });
    const lovelace = await shop.startOrganization();
    const { organizationId } = lovelace;
    const support = await shop.addSubscription(organizationId, {
      plan: "support",
      items: [item(supportPlan.priceId)],
    });
    const business = await shop.addSubscription(organizationId, {
      plan: "business",
      items: [item(businessPlan.priceId)],
    });

    await join(lovelace.owner, organizationId, "Bob");
    await shop.stripe.delivered();

    expect(await shop.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
    expect(seatItems(shop, business)).toEqual({ [businessPlan.seatPriceId]: 2 });
    expect(seatItems(shop, support)).toEqual({});
    const addOn = { organizationId, subscriptionId: support };
    expect(await shop.counts(addOn, supportPlan.priceId)).toMatchObject({ quantity: 1, seats: 1 });
  });

  test("of an item that is not among the first ten", async () => {
    const lovelace = await app.startOrganization();
    const lines = Array.from({ length: 12 }, (_, index) => item(`price_line_${index}`));
    const { items } = app.stripe.subscriptions.get(lovelace.subscriptionId)!;
    items.unshift(...lines);

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(app.stripe.quantity(lovelace.subscriptionId, seatPriceId)).toBe(2);
  });

  test("when the last member deletes the account: it ends with the period, unless one joins", async () => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    must(await owner.client.post("/delete-user", { password }));
    await app.stripe.delivered();

    expect(await app.counts(lovelace)).toEqual({ members: 0, quantity: 0, seats: 0 });
    expect(app.stripe.subscriptions.get(subscriptionId)).toMatchObject({
      status: "active",
      cancel_at_period_end: true,
    });

    const { userId } = await signUp(app.url, "Bob");
    await app.auth.api.addMember({ body: { userId, organizationId, role: "owner" } });
    await app.stripe.delivered();

    expect(await app.counts(lovelace)).toEqual({ members: 1, quantity: 1, seats: 1 });
    expect(app.stripe.subscriptions.get(subscriptionId)).toMatchObject({
      cancel_at_period_end: false,
    });
  });

  test("when the last member deletes the account while it is past due: it ends all the same", async () => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    await change(app, lovelace, { status: "past_due" });

    must(await owner.client.post("/delete-user", { password }));
    await app.stripe.delivered();
    expect(app.stripe.subscriptions.get(subscriptionId)).toMatchObject({
      cancel_at_period_end: true,
    });

    const { userId } = await signUp(app.url, "Bob");
    await app.auth.api.addMember({ body: { userId, organizationId, role: "owner" } });
    await change(app, lovelace, { status: "active" });

    expect(await app.counts(lovelace)).toEqual({ members: 1, quantity: 1, seats: 1 });
    expect(app.stripe.subscriptions.get(subscriptionId)).toMatchObject({
      cancel_at_period_end: false,
    });
  });

  test("and what the customer has canceled stays canceled", async () => {
    const lovelace = await app.startOrganization();
    await change(app, lovelace, { cancel_at_period_end: true });

    await join(lovelace.owner, lovelace.organizationId, "Bob");
    await app.stripe.delivered();

    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
    expect(app.stripe.subscriptions.get(lovelace.subscriptionId)).toMatchObject({
      cancel_at_period_end: true,
    });
  });

  test("and the subscription of a person, or of whatever else, is left alone", async () => {
    const { userId } = await signUp(app.url, "Bob");
    const subscriptionId = await app.addSubscription(userId);
    app.stripe.updates.length = 0;

    await tell(app, userId);

    expect(app.stripe.updates).toEqual([]);
    expect(await app.counts({ organizationId: userId, subscriptionId })).toEqual({
      members: 0,
      quantity: 1,
      seats: 1,
    });
  });

  test("when Stripe's reply is lost: the SDK sends it again, and Stripe does it once", async () => {
    const retrying = app.stripe.client({ maxNetworkRetries: 1 });
    const shop = await startApp(defer, {
      ...options,
      stripe: app.stripe,
      seats: { stripe: retrying },
    });
    const lovelace = await shop.startOrganization();
    const held = shop.stripe.hold("POST");
    const joined = join(lovelace.owner, lovelace.organizationId, "Bob");
    await held.arrived;
    shop.stripe.fault = "lose the reply";
    held.release();
    await new Promise(setImmediate);
    shop.stripe.fault = undefined;
    await joined;
    await shop.stripe.delivered();

    expect(shop.stripe.updates).toHaveLength(1);
    expect(await shop.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
    app.stripe.webhookUrl &&= `${app.url}/api/auth/stripe/webhook`;
  });

  test("once Stripe answers again, and no request waits for longer than the limit", async () => {
    // It would itself give up only after this test would have.
    const patient = app.stripe.client({ timeout: 80_000, maxNetworkRetries: 20 });
    const shop = await startApp(defer, {
      ...options,
      seats: { timeLimit: 300, stripe: patient },
      stripe: app.stripe,
    });
    const lovelace = await shop.startOrganization();
    const { owner, organizationId } = lovelace;
    // That plugin makes calls of its own, which are not bounded by this limit.
    if (besideStripe) await shop.pool.query(`update organization set "stripeCustomerId" = null`);
    const people = await invitePeople(shop, owner, organizationId, 3);

    shop.stripe.fault = "hang";
    const answers = await Promise.all(people.map(([person, id]) => accept(person, id)));

    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(await shop.counts(lovelace)).toEqual({ members: 4, quantity: 1, seats: 1 });
    expect(shop.errors).toHaveLength(3);
    expect(shop.errors.join()).toContain("takes longer than 300 ms, and goes on");

    shop.stripe.fault = undefined;
    const seats = () => shop.stripe.quantity(lovelace.subscriptionId, seatPriceId);
    await expect.poll(seats, { timeout: 50_000 }).toBe(4);
    app.stripe.webhookUrl &&= `${app.url}/api/auth/stripe/webhook`;
  });
});

async function invitePeople({ url }: App, owner: TestUser, organizationId: string, count: number) {
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const person = await signUp(url, `Guest${index}`);
      return [person, await invite(owner, organizationId, person.email)] as const;
    }),
  );
}

describe("an organization is deleted while its subscription is active", () => {
  test("alone, the subscription ends with the period that is paid", async () => {
    const app = await startApp(defer);
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    await join(owner, organizationId, "Bob");

    must(await owner.client.post("/organization/delete", { organizationId }));

    expect(await app.counts(lovelace)).toEqual({ members: 0, quantity: 0, seats: 0 });
    expect(app.stripe.subscriptions.get(subscriptionId)).toMatchObject({
      cancel_at_period_end: true,
      cancellation_details: { comment: "No members are left." },
    });
  });

  test("alone, also when Stripe fails at first, once it tells of anything", async () => {
    const app = await startApp(defer);
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    app.stripe.fault = 500;
    must(await owner.client.post("/organization/delete", { organizationId }));
    app.stripe.fault = undefined;

    await tell(app, organizationId);

    expect(app.stripe.subscriptions.get(subscriptionId)).toMatchObject({
      cancel_at_period_end: true,
    });
  });

  test("beside Better Auth's Stripe plugin, that is refused", async () => {
    const app = await startApp(defer, { besideStripe: true });
    const lovelace = await app.startOrganization();
    const { owner, organizationId } = lovelace;

    const { status } = await owner.client.post("/organization/delete", { organizationId });

    expect(status).toBe(400);
    expect(await app.counts(lovelace)).toEqual({ members: 1, quantity: 1, seats: 1 });
  });
});

describe("beside Better Auth's Stripe plugin", () => {
  let app: App;

  beforeAll(async () => {
    app = await startApp(defer, { besideStripe: true });
  });

  /** Lets Carol join while Bob's request has counted, and waits for Stripe: it writes two seats. */
  async function overtake() {
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    const bob = await signUp(app.url, "Bob");
    const invitationId = await invite(owner, organizationId, bob.email);

    const held = app.stripe.hold("GET", theirKey);
    let isAnswered = false;
    const accepted = accept(bob, invitationId).finally(() => (isAnswered = true));
    await held.arrived;
    await join(owner, organizationId, "Carol");
    // What Stripe tells of Carol must not come after the release: it would already make up for that.
    await app.stripe.delivered();
    expect(isAnswered).toBe(false);
    const webhooks = (app.stripe.heldWebhooks = []);
    held.release();
    must(await accepted);
    app.stripe.heldWebhooks = undefined;
    expect(app.stripe.quantity(subscriptionId, seatPriceId)).toBe(2);
    return { ...lovelace, webhooks };
  }

  test("its own count may be overtaken while a request waits for Stripe: its webhook makes up for that", async () => {
    const { webhooks, ...lovelace } = await overtake();
    expect(webhooks).toHaveLength(1);

    await app.stripe.deliver(webhooks[0]!);
    await app.stripe.delivered();

    expect(await app.counts(lovelace)).toEqual({ members: 3, quantity: 3, seats: 3 });
  });

  test("without webhooks, it stays stale until the next one joins", async () => {
    const { webhooks: _, ...lovelace } = await overtake();

    app.stripe.heldWebhooks = [];
    await join(lovelace.owner, lovelace.organizationId, "Dave");
    app.stripe.heldWebhooks = undefined;

    expect(await app.counts(lovelace)).toEqual({ members: 4, quantity: 4, seats: 4 });
  });

  test("a recount that finds the seats right ends with one look at Stripe", async () => {
    const lovelace = await app.startOrganization();
    await join(lovelace.owner, lovelace.organizationId, "Bob");
    await app.stripe.delivered();
    app.stripe.calls = 0;

    app.stripe.change(lovelace.subscriptionId, {});
    await app.stripe.delivered();

    expect(app.stripe.calls).toBe(1);
  });

  test("tables and columns keep the names that it gives them", async () => {
    // Its type knows one column of each table only.
    const fields = { seats: "seat_count" } as object;
    const schema = { subscription: { modelName: "abonnement", fields } };
    const named = await startApp(defer, { besideStripe: true, schema });
    const lovelace = await named.startOrganization();

    await join(lovelace.owner, lovelace.organizationId, "Bob");
    await named.stripe.delivered();

    expect(await named.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
    const { rows } = await named.pool.query("select seat_count from abonnement");
    expect(rows).toEqual([{ seat_count: 2 }]);
  });

  test.each([
    { subscription: { modelName: "abonnement" } },
    { subscription: { fields: { seats: "seat_count" } as object } },
  ])("after it, with the names %j, seat sync does not start, and says why", async (schema) => {
    const stripeClient = app.stripe.client();
    const plans: StripePlan[] = [teamPlan];
    const { $context } = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: memoryAdapter({}),
      plugins: [
        organization(),
        standardEvents(),
        stripePlugin({
          stripeClient,
          stripeWebhookSecret: webhookSecret,
          schema,
          organization: { enabled: true },
          subscription: { enabled: true, plans },
        }),
        seatSync({ stripe: stripeClient, plans, organization: { enabled: true } }),
      ],
    });

    await expect($context).rejects.toThrow(
      "seatSync() has to come before stripe(), whose names it would reset",
    );
  });

  test("after it, without names, the order does not matter", async () => {
    const last = await startApp(defer, { besideStripe: true, seatSyncLast: true });
    const lovelace = await last.startOrganization();

    await join(lovelace.owner, lovelace.organizationId, "Bob");
    await last.stripe.delivered();

    expect(await last.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });
});

test("without seat sync, Better Auth's Stripe plugin does not see who leaves or deletes the account", async () => {
  const off = { organization: { enabled: false } };
  const app = await startApp(defer, { besideStripe: true, seats: off });
  const { owner, organizationId, ...lovelace } = await app.startOrganization();
  const bob = await join(owner, organizationId, "Bob");
  const carol = await join(owner, organizationId, "Carol");
  const dave = await join(owner, organizationId, "Dave");
  const daves = { organizationId, memberIdOrEmail: dave.email };
  must(await owner.client.post("/organization/remove-member", daves));

  must(await bob.client.post("/organization/leave", { organizationId }));
  must(await carol.client.post("/delete-user", { password }));
  await app.stripe.delivered();

  expect(await app.counts({ organizationId, ...lovelace })).toEqual({
    members: 1,
    quantity: 3,
    seats: 3,
  });
});

test("beside it and the app's own organization hooks, each hook runs once, each event is told once", async () => {
  const stripe = await new StripeServer().start();
  defer(() => stripe.stop());
  const recorder = new Recorder();
  const server = await startPathServer(defer, {
    plugins: [
      recorder.plugin(),
      standardEvents(),
      seatSync({ stripe: stripe.client(), plans: [teamPlan], organization: { enabled: true } }),
      checkout({ stripeClient: stripe.client(), context: async () => server.context }),
    ],
  });
  stripe.webhookUrl = `${server.url}/api/auth/stripe/webhook`;
  const { ada, outside } = server;
  const organizationId = await server.organization();
  const order = { plan: "team", referenceId: organizationId, customerType: "organization" };
  const { body: session } = must(await ada.client.post("/subscription/upgrade", order));
  const subscriptionId = stripe.pay(session.id);
  await stripe.delivered();

  /** The hooks that ran on account of a request, and the seats that Stripe has after it. */
  async function outcome({ client }: TestUser, path: string, body: object) {
    const before = await readTables(outside);
    server.hooksRun.length = 0;
    recorder.begin();
    must(await client.post(path, body));
    await stripe.delivered();
    const told = recorder.end().filter(([event]) => !event.startsWith("billing."));
    expect(sorted(told)).toEqual(sorted(owed(before, await readTables(outside))));
    return [...server.hooksRun, stripe.quantity(subscriptionId, seatPriceId)];
  }

  const [bob, carol, dave] = [
    await server.signUp("Bob"),
    await server.signUp("Carol"),
    await server.signUp("Dave"),
  ];
  for (const [index, person] of [bob, carol, dave].entries()) {
    const invitationId = await invite(ada, organizationId, person.email);
    expect(await outcome(person, "/organization/accept-invitation", { invitationId })).toEqual([
      "beforeAcceptInvitation",
      "afterAcceptInvitation",
      index + 2,
    ]);
  }
  const { rows } = await outside.query(`select id from member where "userId" = $1`, [bob.userId]);
  const toAdmin = { organizationId, memberId: rows[0].id, role: "admin" };
  expect(await outcome(ada, "/organization/update-member-role", toAdmin)).toEqual([
    "beforeUpdateMemberRole",
    "afterUpdateMemberRole",
    4,
  ]);
  const bobs = { organizationId, memberIdOrEmail: bob.email };
  expect(await outcome(ada, "/organization/remove-member", bobs)).toEqual([
    "beforeRemoveMember",
    "afterRemoveMember",
    3,
  ]);
  // Of these two that plugin knows nothing.
  expect(await outcome(carol, "/organization/leave", { organizationId })).toEqual([2]);
  expect(await outcome(dave, "/delete-user", { password })).toEqual([1]);
  stripe.change(subscriptionId, { status: "canceled" });
  await stripe.delivered();
  expect(await outcome(ada, "/organization/delete", { organizationId })).toEqual([
    "beforeDeleteOrganization",
    "afterDeleteOrganization",
    1,
  ]);
});

describe("what cannot work is said once, at the start", () => {
  test.each([
    [
      "the organization integration is not enabled",
      { seats: { organization: undefined } },
      "Seat sync is off: its option organization: { enabled: true } is missing.",
    ],
    [
      "no plan has seats",
      { seats: { plans: [supportPlan] } },
      "Seat sync is off: none of its plans has a seatPriceId.",
    ],
    [
      "nobody seems to emit standard events",
      { withoutStandardEvents: true },
      "Seat sync does not find the plugin standard-events. Add it, unless something else emits " +
        "organization.member.added and organization.member.removed.",
    ],
  ] satisfies [string, AppOptions, string][])("%s", async (_, options, warning) => {
    const { warnings, startOrganization } = await startApp(defer, options);
    await startOrganization();

    expect(warnings).toEqual([warning]);
  });

  test("there is no organization plugin", async () => {
    const warnings: string[] = [];
    const { $context } = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: memoryAdapter({}),
      logger: { log: (_, message) => warnings.push(message) },
      plugins: [
        seatSync({
          stripe: stripeClient(1),
          plans: [teamPlan],
          organization: { enabled: true },
        }),
      ],
    });
    await $context;

    expect(warnings).toEqual([
      "Seat sync is off: there are no members without the organization plugin.",
    ]);
  });

  test("and nothing is said where all is there", async () => {
    const { warnings, errors } = await startApp(defer, { besideStripe: true });

    expect([...warnings, ...errors]).toEqual([]);
  });
});

test("a request waits for five seconds, unless another limit is set; the SDK would for 80", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const never = () => new Promise<never>(() => {});
  const adapter = { count: never, findMany: never, update: never };
  const syncSeats = createSeatSync({ adapter }, { stripe: stripeClient(1), plans: [] });

  const outcome = syncSeats({ organizationId: "org_1" }).catch(String);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(await outcome).toContain("takes longer than 5000 ms, and goes on");

  expect(new Stripe("sk_test").getApiField("timeout")).toBe(80_000);
});

describe("the configuration in the README", () => {
  test("sells seats, and bills the members that there are", async () => {
    const { url, stripe, warnings } = await startShop(defer);
    const ada = await signUp(url, "Ada");
    const { body: organization } = must(
      await ada.client.post("/organization/create", { name: "Lovelace", slug: "lovelace" }),
    );
    const order = { plan: "team", referenceId: organization.id, customerType: "organization" };
    const { body: session } = must(await ada.client.post("/subscription/upgrade", order));
    const bob = await join(ada, organization.id, "Bob");

    const subscriptionId = stripe.pay(session.id);
    await stripe.delivered();
    expect(stripe.quantity(subscriptionId, seatPriceId)).toBe(2);

    must(await bob.client.post("/organization/leave", { organizationId: organization.id }));
    expect(stripe.quantity(subscriptionId, seatPriceId)).toBe(1);

    stripe.change(subscriptionId, { items: [item("price_team"), item(seatPriceId, 7)] });
    await stripe.delivered();
    expect(stripe.quantity(subscriptionId, seatPriceId)).toBe(1);
    expect(warnings).toEqual([]);
  });
});

describe("the stand-in has Stripe's rules", () => {
  const stripe = new StripeServer();

  beforeAll(async () => {
    await stripe.start();
    defer(() => stripe.stop());
  });

  beforeEach(() => {
    stripe.addSubscription({ id: "sub_1", status: "active", items: [item("price_base", 1)] });
  });

  const changeItems = (...items: { id?: string; price?: string; quantity?: number }[]) =>
    stripe.client().subscriptions.update("sub_1", { items });

  test.each(["canceled", "incomplete", "incomplete_expired"])(
    "a subscription that is %s keeps its items",
    async (status) => {
      stripe.subscriptions.get("sub_1")!.status = status;

      await expect(changeItems({ price: seatPriceId })).rejects.toThrow(status);
    },
  );

  test.each([
    ["a quantity on a metered price", { price: "price_metered", quantity: 2 }, "metered"],
    ["a second item for a price", { price: "price_base" }, "same plan"],
    ["another interval", { price: "price_year" }, "same interval"],
    ["another currency", { price: "price_euro" }, "same currency"],
    ["a price that does not exist", { price: "price_none" }, "No such price"],
    ["an item of something else", { id: "si_none", quantity: 1 }, "No such subscription item"],
    ["less than no seats", { price: seatPriceId, quantity: -1 }, "Invalid integer"],
  ])("it refuses %s", async (_, change, message) => {
    await expect(changeItems(change)).rejects.toThrow(message);

    expect(stripe.subscriptions.get("sub_1")!.items).toEqual([item("price_base", 1)]);
  });

  test("it takes up to 20 items", async () => {
    const lines = prices.filter(({ id }) => id.startsWith("price_line"));
    const changes = lines.map(({ id }) => ({ price: id }));

    await expect(changeItems(...changes)).rejects.toThrow("up to 20 items");
    expect((await changeItems(...changes.slice(1))).items.has_more).toBe(true);
  });

  test("what is sent again with the same idempotency key is done once", async () => {
    const send = (quantity: number) =>
      stripe
        .client()
        .subscriptions.update(
          "sub_1",
          { items: [{ id: item("price_base").id, quantity }] },
          { idempotencyKey: "key" },
        );

    const [first, again] = [await send(2), await send(3)];

    expect(again.items).toEqual(first.items);
    expect(stripe.quantity("sub_1", "price_base")).toBe(2);
  });
});
