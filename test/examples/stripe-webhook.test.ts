import { beforeAll, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import { seatPriceId } from "../fixtures/stripe-server";
import { createSdkShop, startShop, type Shop } from "../fixtures/shop";
import { createOrganization, signUp } from "../fixtures/users";
import { stripeWebhook } from "./stripe-webhook";

const defer = deferToEnd();
const id = "sub_1";
let shop: Shop;
let organizationId: string;

beforeAll(async () => {
  shop = await startShop(defer, createSdkShop);
  organizationId = await createOrganization(await signUp(shop.url, "Ada"), "lovelace");
});

beforeEach(async () => {
  await shop.adapter.deleteMany({ model: "subscription", where: [] });
  shop.logged.length = 0;
});

const rows = () => shop.adapter.findMany({ model: "subscription" });
const quantity = () => shop.stripe.quantity(id, seatPriceId);

function subscribe(metadata: Record<string, string>): void {
  const items = [{ id: "si_1", price: { id: seatPriceId }, quantity: 7 }];
  shop.stripe.addSubscription({ id, status: "active", items, metadata });
}

/** Delivers a change that says nothing but the id, and waits for those that this leads to. */
async function deliver(change: "created" | "updated", secret?: string): Promise<void> {
  const event = { type: `customer.subscription.${change}`, data: { object: { id } } };
  await shop.stripe.deliver(event, secret);
  await shop.stripe.delivered();
}

test("creates and updates a row by what Stripe says now, and has the seats counted", async () => {
  subscribe({ organizationId, plan: "team" });
  await deliver("created");
  const row = { stripeSubscriptionId: id, referenceId: organizationId, plan: "team", seats: 1 };
  expect(await rows()).toEqual([expect.objectContaining({ ...row, status: "active" })]);
  expect(quantity()).toBe(1);

  // It is canceled after Stripe was asked, and before the row is written.
  const { findOne } = shop.adapter;
  vi.spyOn(shop.adapter, "findOne").mockImplementationOnce((query) => {
    shop.stripe.subscriptions.get(id)!.status = "canceled";
    return findOne(query);
  });
  await deliver("updated");
  expect(await rows()).toEqual([expect.objectContaining({ ...row, status: "canceled" })]);
});

test("creates one row for two deliveries at the same time, and has the other repeated", async () => {
  subscribe({ organizationId });
  // Another delivery creates the row after this one has found none.
  const { create } = shop.adapter;
  vi.spyOn(shop.adapter, "create").mockImplementationOnce(async (query) => {
    await deliver("created");
    return create(query) as never;
  });
  // Better Auth prints the error of the database.
  vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => void vi.restoreAllMocks());

  await expect(deliver("updated")).rejects.toThrow("was answered with 500");

  expect(await rows()).toEqual([expect.objectContaining({ stripeSubscriptionId: id, plan: "" })]);
});

test.each([{}, { organizationId: "org_of_another_environment" }])(
  "leaves a subscription with the metadata %j alone, and says so",
  async (metadata) => {
    subscribe({ ...metadata });
    await deliver("created");

    expect([await rows(), quantity()]).toEqual([[], 7]);
    expect(shop.logged).toEqual([expect.stringContaining(`Stripe's ${id} is left alone`)]);
  },
);

test("refuses what Stripe did not sign, and to start without a secret", async () => {
  subscribe({ organizationId });
  await expect(deliver("created", "whsec_forged")).rejects.toThrow("answered with 400");

  expect(await rows()).toEqual([]);
  const stripe = shop.stripe.client();
  expect(() => stripeWebhook({ stripe, secret: "" })).toThrow("needs the secret");
});
