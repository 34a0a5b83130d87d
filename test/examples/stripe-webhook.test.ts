import { beforeAll, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import { seatPriceId } from "../fixtures/stripe-server";
import { createSdkShop, startShop, type Shop } from "../fixtures/shop";
import { createOrganization, join, signUp, type TestUser } from "../fixtures/users";
import { stripeWebhook } from "./stripe-webhook";

const defer = deferToEnd();
const id = "sub_1";
let shop: Shop;
let owner: TestUser;
let organizationId: string;

beforeAll(async () => {
  shop = await startShop(defer, createSdkShop);
  owner = await signUp(shop.url, "Ada");
  organizationId = await createOrganization(owner, "lovelace");
});

beforeEach(async () => {
  await shop.adapter.deleteMany({ model: "subscription", where: [] });
  shop.logged.length = 0;
});

/** Adds a subscription at Stripe. */
function subscribe(metadata: Record<string, string>): void {
  const items = [{ id: "si_1", price: { id: seatPriceId }, quantity: 7 }];
  shop.stripe.addSubscription({ id, status: "active", items, metadata });
}

/** Delivers a change of it, as it was before it had a status or metadata. */
function deliver(type: "created" | "updated" | "deleted", secret?: string): Promise<void> {
  const event = { type: `customer.subscription.${type}`, data: { object: { id } } };
  return shop.stripe.deliver(event, secret);
}

const rows = () => shop.adapter.findMany({ model: "subscription" });

test("creates and updates a row, by what Stripe says now, and has the seats counted", async () => {
  subscribe({ organizationId, plan: "team" });
  await join(owner, organizationId, "Bob");

  await deliver("created");
  const row = { stripeSubscriptionId: id, referenceId: organizationId, plan: "team", seats: 2 };
  expect(await rows()).toEqual([expect.objectContaining({ ...row, status: "active" })]);
  expect(shop.stripe.quantity(id, seatPriceId)).toBe(2);

  shop.stripe.subscriptions.get(id)!.status = "canceled";
  await deliver("updated");
  expect(await rows()).toEqual([expect.objectContaining({ ...row, status: "canceled" })]);
});

test("creates one row for two deliveries at the same time, and Stripe repeats the other", async () => {
  subscribe({ organizationId });
  const { findOne } = shop.adapter;
  let [reads, arrive] = [0, () => {}];
  const bothRead = new Promise<void>((resolve) => (arrive = resolve));
  vi.spyOn(shop.adapter, "findOne").mockImplementation(async (query) => {
    const row = await findOne(query);
    if (++reads === 2) arrive();
    await bothRead;
    return row as never;
  });
  // Better Auth prints the error of the database.
  vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => void vi.restoreAllMocks());

  const deliveries = [deliver("created"), deliver("updated")];
  const outcomes = await Promise.all(deliveries.map((each) => each.catch(String)));
  expect(outcomes.filter(Boolean)).toEqual([expect.stringContaining("was answered with 500")]);
  expect(await rows()).toHaveLength(1);

  await deliver("updated");
  expect(await rows()).toEqual([expect.objectContaining({ status: "active", plan: "" })]);
});

test.each([{}, { organizationId: "org_of_another_environment" }])(
  "leaves a subscription with the metadata %j alone, and says so",
  async (metadata) => {
    subscribe(metadata as Record<string, string>);

    await deliver("created");

    expect(await rows()).toEqual([]);
    expect(shop.stripe.quantity(id, seatPriceId)).toBe(7);
    expect(shop.logged).toEqual([expect.stringContaining(`Stripe's ${id} is left alone`)]);
  },
);

test("refuses what Stripe did not sign, and a server without a secret", async () => {
  subscribe({ organizationId });

  await expect(deliver("created", "whsec_forged")).rejects.toThrow("answered with 400");

  expect(await rows()).toEqual([]);
  expect(() => stripeWebhook({ stripe: shop.stripe.client(), secret: "" })).toThrow(
    "needs the secret",
  );
});
