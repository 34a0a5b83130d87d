import assert from "node:assert/strict";
import { getBus, type MemberEvent, type UserEvent } from "@kernia/events";
import { organization } from "better-auth/plugins";
import pino from "pino";
import { forPino } from "../../examples/recipes/loggers";
import { seatSync } from "../../examples/seat-sync";
import { standardEvents } from "../../examples/standard-events";
import { seatPriceId, teamPlan } from "../../fixtures/plans";
import { StripeServer } from "../../fixtures/stripe-server";
import { password, startAuth } from "./auth";

const lines: { msg: string; err?: { message: string } }[] = [];
const stripe = await new StripeServer().start();
const seats = { stripe: stripe.client(), plans: [teamPlan] };
const { auth, pool, post, signUp } = await startAuth({
  logger: forPino(pino({}, { write: (line) => lines.push(JSON.parse(line)) })),
  plugins: [organization(), standardEvents(), seatSync(seats)],
});
const emitted: [string, string, string?][] = [];
const bus = getBus(await auth.$context);
for (const action of ["added", "removed", "updated"] as const) {
  bus.on(`organization.member.${action}`, ({ userId, role }: MemberEvent) =>
    emitted.push([action, userId, role]),
  );
}
bus.on("user.deleted", ({ userId, action }: UserEvent) => emitted.push([action, userId]));
bus.on("user.deleted", () => Promise.reject(new Error("a handler fails")));

const [ada, bob, carol] = [await signUp("ada"), await signUp("bob"), await signUp("carol")];
const { id: organizationId } = await post("/organization/create", { name: "L", slug: "l" }, ada);
stripe.addSubscription({
  id: "sub_1",
  status: "active",
  items: [{ id: "si_1", price: { id: seatPriceId }, quantity: 1 }],
});
await pool.query(
  `insert into subscription (id, plan, "referenceId", "stripeSubscriptionId", status, seats)
   values ('1', 'team', $1, 'sub_1', 'active', 1)`,
  [organizationId],
);
for (const user of [bob, carol]) {
  const invitation = { organizationId, email: user.email, role: "member" };
  const { id: invitationId } = await post("/organization/invite-member", invitation, ada);
  await post("/organization/accept-invitation", { invitationId }, user);
}
assert.equal(stripe.quantity("sub_1", seatPriceId), 3);
const { rows } = await pool.query(`select id from member where "userId" = $1`, [carol.id]);
const change = { organizationId, memberId: rows[0].id, role: "admin" };
await post("/organization/update-member-role", change, ada);
await post("/organization/leave", { organizationId }, bob);
await post("/delete-user", { password }, carol);
assert.equal(stripe.quantity("sub_1", seatPriceId), 1);
await post("/organization/delete", { organizationId }, ada);

assert.deepEqual(emitted, [
  ["added", ada.id, "owner"],
  ["added", bob.id, "member"],
  ["added", carol.id, "member"],
  ["updated", carol.id, "admin"],
  ["removed", bob.id, "member"],
  ["removed", carol.id, "admin"],
  ["deleted", carol.id],
  ["removed", ada.id, "owner"],
]);
const failure = lines.find(({ msg }) => msg === "Event handler failed:");
assert.equal(failure?.err?.message, "a handler fails");
await stripe.stop();
await pool.end();
