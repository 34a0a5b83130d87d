import { stripe, type StripePlan } from "@better-auth/stripe";
import { organization } from "better-auth/plugins";
import { beforeAll, describe, expect, test } from "vitest";
import { pluginKey, startApp, type App } from "../fixtures/app";
import { deferToEnd } from "../fixtures/defer-to-end";
import { seatPriceId, supportPlan, teamPlan } from "../fixtures/plans";
import { createSdkShop, createShop, createSubscriptions, startShop } from "../fixtures/shop";
import { startUp } from "../fixtures/auth-server";
import { stripeClient, webhookSecret } from "../fixtures/stripe-server";
import { accept, createOrganization, invite, join, must, signUp } from "../fixtures/users";
import { seatSync } from "./seat-sync";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();

describe("beside Better Auth's Stripe plugin", () => {
  let app: App;

  beforeAll(async () => {
    app = await startApp(defer, { besideStripe: true });
  });

  test("its count may be overtaken: its webhook makes up for it", async () => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    const bob = await signUp(app.url, "Bob");
    const invitationId = await invite(owner, organizationId, bob.email);

    const held = app.stripe.hold("GET", pluginKey);
    const accepted = accept(bob, invitationId);
    await held.arrived;
    await join(owner, organizationId, "Carol");
    // The webhook of Carol's must not come after the release: it would make up for it.
    await app.stripe.delivered();
    const webhooks = (app.stripe.heldWebhooks = []);
    held.release();
    must(await accepted);
    expect(app.stripe.quantity(subscriptionId, seatPriceId)).toBe(2);

    app.stripe.heldWebhooks = undefined;
    await app.stripe.deliver(webhooks[0]!);
    expect(await app.counts(lovelace)).toEqual({ members: 3, quantity: 3, seats: 3 });
  });
});

describe("at the start", () => {
  const plans: StripePlan[] = [teamPlan];
  const sync = seatSync({ stripe: stripeClient(1), plans });
  const checkout = (schema = {}) =>
    stripe({
      stripeClient: stripeClient(1),
      stripeWebhookSecret: webhookSecret,
      schema,
      organization: { enabled: true },
      subscription: { enabled: true, plans },
    });

  test("nothing is logged where all is there, and the table has the names that stripe() gives it", async () => {
    const named = checkout({ subscription: { modelName: "abonnement" } });

    const first = await startUp({ plugins: [organization(), standardEvents(), sync, named] });
    const last = await startUp({ plugins: [organization(), standardEvents(), checkout(), sync] });

    expect(first.tables["subscription"]!.modelName).toBe("abonnement");
    expect([...first.logged, ...last.logged]).toEqual([]);
  });

  test.each([{ modelName: "abonnement" }, { fields: { seats: "seat_count" } }])(
    "after stripe() with the names %j, it is an error that says why",
    async (subscription) => {
      const started = startUp({
        plugins: [organization(), standardEvents(), checkout({ subscription }), sync],
      });

      await expect(started).rejects.toThrow(
        "seatSync() has to come before stripe(), whose names it would reset",
      );
    },
  );

  const withoutSeats = seatSync({ stripe: stripeClient(1), plans: [supportPlan] });
  test.each([
    ["Seat sync is off: there are no members", [standardEvents(), sync]],
    ["Seat sync is off: none of its plans has", [organization(), standardEvents(), withoutSeats]],
    ["Seat sync does not find the plugin standard-events", [organization(), sync]],
  ])("it is logged once: %s", async (warning, plugins) => {
    expect((await startUp({ plugins })).logged).toEqual([expect.stringContaining(warning)]);
  });
});

describe("the blocks in the README", () => {
  test("with Stripe's SDK alone", async () => {
    const { url, auth, stripe, logged } = await startShop(defer, createSdkShop);
    const { saveSubscription, recountAllSeats } = createSubscriptions(auth);
    const ada = await signUp(url, "Ada");
    const organizationId = await createOrganization(ada, "lovelace");
    const bob = await join(ada, organizationId, "Bob");
    const items = [{ id: "si_1", price: { id: seatPriceId }, quantity: 1 }];
    stripe.addSubscription({ id: "sub_1", status: "active", items, metadata: { organizationId } });
    const quantity = () => stripe.quantity("sub_1", seatPriceId);

    await saveSubscription(await stripe.client().subscriptions.retrieve("sub_1"));
    expect(quantity()).toBe(2);
    must(await bob.client.post("/organization/leave", { organizationId }));
    expect(quantity()).toBe(1);
    stripe.subscriptions.get("sub_1")!.items[0]!.quantity = 7;
    await recountAllSeats();
    expect(quantity()).toBe(1);
    expect(logged).toEqual([]);
  });

  test("with Better Auth's Stripe plugin", async () => {
    const { url, stripe, logged } = await startShop(defer, createShop);
    const ada = await signUp(url, "Ada");
    const organizationId = await createOrganization(ada, "lovelace");
    const order = { plan: "team", referenceId: organizationId, customerType: "organization" };
    const { body: session } = must(await ada.client.post("/subscription/upgrade", order));
    const bob = await join(ada, organizationId, "Bob");
    stripe.webhookUrl = `${url}/api/auth/stripe/webhook`;
    const subscriptionId = stripe.pay(session.id);
    const quantity = () => stripe.quantity(subscriptionId, seatPriceId);

    await stripe.delivered();
    expect(quantity()).toBe(2);
    must(await bob.client.post("/organization/leave", { organizationId }));
    expect(quantity()).toBe(1);
    stripe.subscriptions.get(subscriptionId)!.items.at(-1)!.quantity = 7;
    stripe.change(subscriptionId, {});
    await stripe.delivered();
    expect(quantity()).toBe(1);
    expect(logged).toEqual([]);
  });
});
