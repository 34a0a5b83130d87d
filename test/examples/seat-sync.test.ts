import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import { teamPlan } from "../fixtures/stripe-server";
import { createSdkShop, createShop, startShop, type Shop } from "../fixtures/shop";
import { join, expectOk, password, signUp } from "../fixtures/users";

const defer = deferToEnd();

/** Members, seats at Stripe, and seats in the row. */
const equal = (count: number) => ({ members: count, quantity: count, seats: count });

describe.each([
  ["Stripe's SDK alone", createSdkShop],
  ["Better Auth's Stripe plugin", createShop],
])("in the README's app with %s", (_, create) => {
  let shop: Shop;

  beforeAll(async () => {
    shop = await startShop(defer, create);
  });

  beforeEach(() => void (shop.logged.length = 0));

  test("the seats are right when members are added, removed, leave, and delete their accounts", async () => {
    const lovelace = await shop.startOrganization();
    const { owner, organizationId } = lovelace;
    const bob = await join(owner, organizationId, "Bob");
    const carol = await join(owner, organizationId, "Carol");
    const dave = await join(owner, organizationId, "Dave");
    expect(await shop.counts(lovelace)).toEqual(equal(4));

    const removal = { organizationId, memberIdOrEmail: bob.email };
    expectOk(await owner.client.post("/organization/remove-member", removal));
    expect(await shop.counts(lovelace)).toEqual(equal(3));
    expectOk(await carol.client.post("/organization/leave", { organizationId }));
    expect(await shop.counts(lovelace)).toEqual(equal(2));
    expectOk(await dave.client.post("/delete-user", { password }));
    expect(await shop.counts(lovelace)).toEqual(equal(1));
    expect(shop.logged).toEqual([]);
  });

  test.each(["past_due", "unpaid", "paused"])(
    "seats are right once %s is paid, if one joined",
    async (status) => {
      const lovelace = await shop.startOrganization();
      shop.stripe.change(lovelace.subscriptionId, { status });
      await shop.stripe.delivered();
      await join(lovelace.owner, lovelace.organizationId, "Bob");
      expect(await shop.counts(lovelace)).toMatchObject({ members: 2, quantity: 1 });

      shop.stripe.change(lovelace.subscriptionId, { status: "active" });

      expect(await shop.counts(lovelace)).toEqual(equal(2));
    },
  );

  test.each(["active", "past_due"])("without members, what is %s ends", async (status) => {
    const lovelace = await shop.startOrganization();
    const { owner, organizationId, subscriptionId } = lovelace;
    const subscription = () => shop.stripe.subscriptions.get(subscriptionId)!;
    shop.stripe.change(subscriptionId, { status });
    await shop.stripe.delivered();

    expectOk(await owner.client.post("/delete-user", { password }));
    await shop.stripe.delivered();
    expect(subscription().cancel_at_period_end).toBe(true);

    const { userId } = await signUp(shop.url, "Bob");
    await shop.auth.api.addMember({ body: { userId, organizationId, role: "owner" } });
    await shop.stripe.delivered();
    expect(subscription().cancel_at_period_end).toBe(false);
    expect(shop.logged).toEqual([]);
    shop.stripe.change(subscriptionId, { status: "active" });
    expect(await shop.counts(lovelace)).toEqual(equal(1));
  });

  test.each(["webhook", "recount"])(
    "when Stripe failed, seats are right after the next %s",
    async (next) => {
      const lovelace = await shop.startOrganization();
      shop.stripe.fault = 500;
      await join(lovelace.owner, lovelace.organizationId, "Bob");
      shop.stripe.fault = undefined;
      expect(shop.logged.join()).toMatch(/Event handler failed: organization.member.added .*Error/);

      if (next === "webhook") shop.stripe.change(lovelace.subscriptionId, {});
      else await shop.recountAllSeats();

      expect(await shop.counts(lovelace)).toEqual(equal(2));
    },
  );

  test.each([{ cancel_at_period_end: true }, { cancel_at: 4_000_000_000 }])(
    "what the customer has canceled, %j, ends as it was",
    async (canceled) => {
      const lovelace = await shop.startOrganization();
      const { owner, organizationId, subscriptionId } = lovelace;
      shop.stripe.change(subscriptionId, canceled);

      const bob = await join(owner, organizationId, "Bob");
      expect(await shop.counts(lovelace)).toEqual(equal(2));
      for (const { client } of [bob, owner])
        expectOk(await client.post("/delete-user", { password }));

      expect(await shop.counts(lovelace)).toEqual(equal(0));
      const subscription = shop.stripe.subscriptions.get(subscriptionId)!;
      expect(subscription).toMatchObject(canceled);
      expect(subscription.cancellation_details).toBeUndefined();
    },
  );

  test("a recount that finds no members changes nothing, and warns once", async () => {
    const shop = await startShop(defer, create);
    const data = { name: "Lovelace", slug: "lovelace", createdAt: new Date() };
    const { id: organizationId } = await shop.adapter.create({ model: "organization", data });
    const { userId } = await signUp(shop.url, "Bob");
    const withoutSeats = { items: [{ id: "si_1", price: { id: teamPlan.priceId } }] };
    await shop.addSubscription(userId);
    await shop.addSubscription("workspace_2", withoutSeats);
    const unknown = [organizationId, "workspace_1", ""];
    const added = await Promise.all(unknown.map((id) => shop.addSubscription(id)));

    await shop.recountAllSeats();

    expect(shop.stripe.updates).toEqual([]);
    const left = added.map((id, index) => `left ${id} alone: "${unknown[index]}" has no members`);
    expect(shop.logged.sort()).toEqual(left.map((text) => `Seat sync ${text}`).sort());
  });
});
