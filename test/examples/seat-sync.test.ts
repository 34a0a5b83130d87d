import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startApp } from "../fixtures/app";
import { businessPlan, seatPriceId, teamPlan } from "../fixtures/plans";
import { accept, invite, join, must, password, signUp } from "../fixtures/users";
import { deferToEnd } from "../fixtures/defer-to-end";
import { createSeatSync } from "./seat-sync";

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

  test("when people join and leave on two servers at once", async () => {
    const other = await startApp(defer, {
      databaseUrl: app.databaseUrl,
      stripe: app.stripe,
    });
    const lovelace = await app.startOrganization();
    const { owner, organizationId } = lovelace;
    const leaving = await Promise.all(
      Array.from({ length: 5 }, (_, index) => join(owner, organizationId, `Leaver${index}`)),
    );
    const joining = await Promise.all(
      Array.from({ length: 10 }, async (_, index) => {
        const person = await signUp(index % 2 ? app.url : other.url, `Joiner${index}`);
        return { person, invitationId: await invite(owner, organizationId, person.email) };
      }),
    );

    await Promise.all([
      ...joining.map(({ person, invitationId }) => accept(person, invitationId)),
      ...leaving.map(({ client }, index) =>
        client.at(index % 2 ? other.url : app.url).post("/organization/leave", { organizationId }),
      ),
    ]);

    expect(await app.counts(lovelace)).toEqual({ members: 11, quantity: 11, seats: 11 });
  });

  test("when an organization of 2,000 members is deleted, with three calls to Stripe", async () => {
    const lovelace = await app.startOrganization();
    const { owner, organizationId } = lovelace;
    await app.pool.query(
      `with people as (
         insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
         select gen_random_uuid(), 'Guest', gen_random_uuid() || '@example.com', true, now(), now()
         from generate_series(1, 1999) returning id)
       insert into member (id, "organizationId", "userId", role, "createdAt")
       select gen_random_uuid(), $1, id, 'member', now() from people`,
      [organizationId],
    );
    app.stripe.calls = 0;

    const start = performance.now();
    must(await owner.client.post("/organization/delete", { organizationId }));
    const milliseconds = Math.round(performance.now() - start);

    console.log(
      `an organization of 2,000 members was deleted in ${milliseconds} ms, ` +
        `with ${app.stripe.calls} calls to Stripe`,
    );
    expect(app.emitted).toHaveLength(2_000);
    expect(app.stripe.calls).toBeLessThanOrEqual(3);
    expect(await app.counts(lovelace)).toEqual({ members: 0, quantity: 0, seats: 0 });
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

  test("and if the row says another plan than Stripe, by an item of the one that Stripe says", async () => {
    const shop = await startApp(defer, { seats: { plans: [teamPlan, businessPlan] } });
    const items = [{ id: "si_base", price: { id: businessPlan.priceId }, quantity: 1 }];
    const lovelace = await shop.startOrganization({ plan: "team", items });

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(shop.stripe.quantity(lovelace.subscriptionId, businessPlan.seatPriceId)).toBe(2);
    expect(shop.stripe.quantity(lovelace.subscriptionId, seatPriceId)).toBeUndefined();
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
    { plan: "unknown", items: [{ id: "si_1", price: { id: "price_base" }, quantity: 1 }] },
    { plan: "support", items: [{ id: "si_1", price: { id: "price_support" }, quantity: 1 }] },
  ])("nothing for the subscription %j", async (subscription) => {
    const lovelace = await app.startOrganization(subscription);

    await join(lovelace.owner, lovelace.organizationId, "Bob");

    expect(app.stripe.updates).toEqual([]);
    expect(await app.counts(lovelace)).toMatchObject({ members: 2, seats: 1 });
    expect(app.errors).toEqual([]);
  });
});

describe("while a sync runs, one more waits, and all others join it", () => {
  test("so a hundred events at once take two syncs", async () => {
    const lovelace = await app.startOrganization();
    const { adapter, calls } = counting(app.adapter);
    const syncSeats = createSeatSync(
      { adapter },
      { stripe: app.stripe.client(), plans: [teamPlan] },
    );
    const { organizationId } = lovelace;
    app.stripe.calls = 0;

    await Promise.all(Array.from({ length: 100 }, () => syncSeats({ organizationId })));

    expect(app.stripe.calls).toBe(2);
    expect(calls.filter((call) => call === "findMany")).toHaveLength(2);
  });

  test("also when the first of them fails", async () => {
    const lovelace = await app.startOrganization();
    const { organizationId } = lovelace;
    await app.pool.query(`update subscription set seats = null where "referenceId" = $1`, [
      organizationId,
    ]);
    const syncSeats = createSeatSync(app, { stripe: app.stripe.client(), plans: [teamPlan] });

    app.stripe.fault = 500;
    const first = syncSeats({ organizationId });
    const [second, third] = [syncSeats({ organizationId }), syncSeats({ organizationId })];
    await expect(first).rejects.toMatchObject({ statusCode: 500 });
    app.stripe.fault = undefined;
    await Promise.all([second, third]);

    expect(await app.counts(lovelace)).toEqual({ members: 1, quantity: 1, seats: 1 });
  });
});

test.each([
  ["no subscription", undefined],
  ["a canceled one", { status: "canceled" }],
])("an organization with %s costs one query and no call", async (_, subscription) => {
  const { adapter, calls } = counting(app.adapter);
  const syncSeats = createSeatSync({ adapter }, { stripe: app.stripe.client(), plans: [teamPlan] });
  const organizationId = subscription
    ? (await app.startOrganization(subscription)).organizationId
    : "org_1";
  app.stripe.calls = 0;

  await syncSeats({ organizationId });

  expect(calls).toEqual(["findMany"]);
  expect(app.stripe.calls).toBe(0);
});

test("the current subscription is found among more than a hundred old ones", async () => {
  const lovelace = await app.startOrganization();
  const { owner, organizationId } = lovelace;
  await app.pool.query(
    `with current as (delete from subscription where "referenceId" = $1 returning *),
          old as (insert into subscription (id, plan, "referenceId", status)
                  select gen_random_uuid(), 'team', $1, 'canceled' from generate_series(1, 150)
                  returning 1)
     select count(*) from current, old`,
    [organizationId],
  );
  await app.addRow(lovelace);

  await join(owner, organizationId, "Bob");

  expect(await app.counts(lovelace)).toEqual({ members: 2, quantity: 2, seats: 2 });
});

/** Keeps the names of the adapter's methods that are called. */
function counting(adapter: typeof app.adapter) {
  const calls: string[] = [];
  return {
    calls,
    adapter: new Proxy(adapter, {
      get(target, name: keyof typeof adapter) {
        calls.push(name);
        return target[name];
      },
    }),
  };
}

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
