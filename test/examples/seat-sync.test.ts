import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startApp } from "../app/harness/app";
import { seatPriceId, teamPlan } from "../app/harness/plans";
import { accept, invite, join, password, signUp } from "../app/harness/people";
import { deferToEnd } from "../app/harness/defer-to-end";

const defer = deferToEnd();

let app: Awaited<ReturnType<typeof startApp>>;

beforeAll(async () => {
  app = await startApp(defer);
});

beforeEach(() => {
  app.stripe.fault = undefined;
  app.stripe.updates.length = 0;
  app.errors.length = 0;
});

describe("seats follow the members", () => {
  test("when members are added, removed, leave, and delete their accounts", async () => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId } = lovelace;

    const bob = await join(owner, organizationId, "Bob");
    const carol = await join(owner, organizationId, "Carol");
    const dave = await join(owner, organizationId, "Dave");
    expect(await app.counts(lovelace)).toEqual({ members: 4, quantity: 4, seats: 4 });

    await owner.client.post("/organization/remove-member", {
      organizationId,
      memberIdOrEmail: bob.email,
    });
    expect(await app.counts(lovelace)).toEqual({ members: 3, quantity: 3, seats: 3 });

    await carol.client.post("/organization/leave", { organizationId });
    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });

    await dave.client.post("/delete-user", { password });
    expect(await app.counts(lovelace)).toEqual({ members: 1, quantity: 1, seats: 1 });
    expect(app.errors).toEqual([]);
  });

  test("when twenty people accept invitations at once", async () => {
    const lovelace = await app.startOrganization();
    const invited = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const person = await signUp(app.url, `Guest${index}`);
        return [
          person,
          await invite(lovelace.owner, lovelace.organizationId, person.email),
        ] as const;
      }),
    );

    const answers = await Promise.all(invited.map(([person, id]) => accept(person, id)));

    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect(await app.counts(lovelace)).toEqual({ members: 21, quantity: 21, seats: 21 });
  });

  test("when the subscription has no item for seats yet", async () => {
    const lovelace = await app.startOrganization();
    app.stripe.addSubscription({
      id: lovelace.subscriptionId,
      status: "active",
      items: [{ id: "si_base", price: { id: "price_base" }, quantity: 1 }],
    });

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
    expect(app.stripe.quantity(lovelace.subscriptionId, "price_base")).toBe(1);
  });

  test.each([
    { plan: "TEAM" },
    { status: "trialing" },
    { status: "active", stripeStatus: "trialing" },
  ])("for the subscription %j", async (subscription) => {
    const lovelace = await app.startOrganization(subscription);

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });
});

describe("Stripe is told", () => {
  test("the item, its quantity, and to prorate", async () => {
    const { owner, organizationId } = await app.startOrganization();

    await join(owner, organizationId, "Bob");

    expect(app.stripe.updates).toEqual([
      {
        "items[0][id]": `si_${organizationId}`,
        "items[0][quantity]": "2",
        proration_behavior: "create_prorations",
      },
    ]);
  });

  test("the plan's own proration behaviour", async () => {
    const plans = [{ ...teamPlan, prorationBehavior: "always_invoice" as const }];
    const invoicing = await startApp(defer, { seats: { plans } });
    const { owner, organizationId } = await invoicing.startOrganization();

    await join(owner, organizationId, "Bob");

    expect(invoicing.stripe.updates).toMatchObject([{ proration_behavior: "always_invoice" }]);
  });

  test("nothing when the quantity is right already", async () => {
    const lovelace = await app.startOrganization();
    app.stripe.subscriptions.get(lovelace.subscriptionId)!.items[0]!.quantity = 2;

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(app.stripe.updates).toEqual([]);
    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
  });

  test.each([
    { status: "canceled" },
    { status: "incomplete" },
    { status: "active", stripeStatus: "canceled" },
    { status: "active", stripeStatus: "past_due" },
    { plan: "unknown" },
  ])("nothing for the subscription %j", async (subscription) => {
    const lovelace = await app.startOrganization(subscription);

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(app.stripe.updates).toEqual([]);
    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 1, seats: 1 });
    expect(app.errors).toEqual([]);
  });
});

describe.each([
  ["the organization integration is not enabled", { organization: { enabled: false } }],
  ["no plan has seats", { plans: [{ name: "Team" }] }],
  ["there is no plan", { plans: [] }],
])("seat sync is inert when %s", (_, seats) => {
  test("members come and go without a word to Stripe", async () => {
    const inert = await startApp(defer, { seats });
    const lovelace = await inert.startOrganization();

    const bob = await join(lovelace.owner, lovelace.organizationId, "Bob");
    await bob.client.post("/organization/leave", { organizationId: lovelace.organizationId });

    expect(inert.stripe.updates).toEqual([]);
    expect(await inert.counts(lovelace)).toEqual({ members: 1, quantity: 1, seats: 1 });
  });
});

describe.each([404, 500, "hang up"] as const)("when Stripe answers with %s", (fault) => {
  test("the request succeeds, the failure is logged, and the next change makes up for it", async () => {
    const lovelace = await app.startOrganization();
    const bob = await signUp(app.url, "Bob");
    const invitationId = await invite(lovelace.owner, lovelace.organizationId, bob.email);

    app.stripe.fault = fault;
    const answer = await accept(bob, invitationId);

    expect(answer.status).toBe(200);
    expect(app.errors).toHaveLength(1);
    expect(app.errors[0]).toMatch(/^Event handler failed: organization\.member\.added .*Error/);
    expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 1, seats: 1 });

    app.stripe.fault = undefined;
    await join(lovelace.owner, lovelace.organizationId, "Carol");

    expect(app.stripe.quantity(lovelace.subscriptionId, seatPriceId)).toBe(3);
    expect(await app.counts(lovelace)).toEqual({ members: 3, quantity: 3, seats: 3 });
  });
});
