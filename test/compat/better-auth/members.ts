import assert from "node:assert/strict";
import { getBus, type MemberEvent } from "@kernia/events";
import pino from "pino";
import { forPino } from "../../examples/recipes/loggers";
import { seatSync } from "../../examples/seat-sync";
import { standardEvents } from "../../examples/standard-events";
import { stripeWebhook } from "../../examples/stripe-webhook";
import { startAuthServer } from "../../fixtures/auth-server";
import { StripeServer, stripeWebhookSecret, teamPlan } from "../../fixtures/stripe-server";
import { createOrganization, join, expectOk, password, signUp } from "../../fixtures/users";

const lines: { msg: string; err?: { message: string } }[] = [];
const stripe = await new StripeServer().start();
const { seatPriceId } = teamPlan;
const seats = { stripe: stripe.client(), plans: [teamPlan] };
const webhook = { stripe: stripe.client(), secret: stripeWebhookSecret };
const { auth, url, close } = await startAuthServer({
  databaseUrl: process.argv[2]!,
  logger: forPino(pino({}, { write: (line) => lines.push(JSON.parse(line)) })),
  plugins: [standardEvents(), seatSync(seats), stripeWebhook(webhook)],
});
const emitted: [action: string, userId: string, role?: string][] = [];
const bus = getBus(await auth.$context);
for (const action of ["added", "removed", "updated"] as const) {
  const record = ({ userId, role }: MemberEvent) => emitted.push([action, userId, role]);
  bus.on(`organization.member.${action}`, record);
}
bus.on("user.deleted", ({ userId }) => emitted.push(["deleted", userId]));
bus.on("user.deleted", () => Promise.reject(new Error("a handler fails")));

const ada = await signUp(url, "Ada");
const organizationId = await createOrganization(ada, "lovelace");
const items = [{ id: "si_1", price: { id: seatPriceId }, quantity: 1 }];
stripe.addSubscription({ id: "sub_1", status: "active", items, metadata: { organizationId } });
stripe.webhookUrl = `${url}/api/auth/stripe/webhook`;
stripe.change("sub_1", {});
await stripe.delivered();
const bob = await join(ada, organizationId, "Bob");
const carol = await join(ada, organizationId, "Carol");
assert.equal(stripe.quantity("sub_1", seatPriceId), 3);
const change = { organizationId, memberId: carol.memberId, role: "admin" };
expectOk(await ada.client.post("/organization/update-member-role", change));
expectOk(await bob.client.post("/organization/leave", { organizationId }));
expectOk(await carol.client.post("/delete-user", { password }));
assert.equal(stripe.quantity("sub_1", seatPriceId), 1);
expectOk(await ada.client.post("/organization/delete", { organizationId }));

assert.deepEqual(emitted, [
  ["added", ada.userId, "owner"],
  ["added", bob.userId, "member"],
  ["added", carol.userId, "member"],
  ["updated", carol.userId, "admin"],
  ["removed", bob.userId, "member"],
  ["removed", carol.userId, "admin"],
  ["deleted", carol.userId],
  ["removed", ada.userId, "owner"],
]);
const failure = lines.find(({ msg }) => msg === "Event handler failed:");
assert.equal(failure?.err?.message, "a handler fails");
await Promise.all([close(), stripe.stop()]);
