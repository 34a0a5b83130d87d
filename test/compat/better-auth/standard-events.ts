import { EventBus, type EventName, type EventPayload } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { organization } from "better-auth/plugins";
import { owed, readTables, sorted, type Told } from "../../membership-changes/expected";
import { seatPriceId, teamPlan } from "../../fixtures/plans";
import { StripeServer } from "../../fixtures/stripe-server";
import { seatSync } from "../../examples/seat-sync";
import { standardEvents } from "../../examples/standard-events";
import { password, startAuth, type TestUser } from "./auth";

// Runs bundled, in a folder in which the version to be tested is installed.

const serialIds = process.argv.includes("--serial-ids");
const told: Told[] = [];
const stripe = await new StripeServer().start();

class RecordingBus extends EventBus {
  override emit<Name extends EventName>(event: Name, payload: EventPayload<Name>) {
    told.push([event, payload] as Told);
    return super.emit(event, payload);
  }
}

const recorder: BetterAuthPlugin = {
  id: "recorder",
  init: (auth) => ({ context: { pluginState: { events: new RecordingBus(auth.logger) } } }),
};
/** The first is the name of it before 1.4. */
const serial = { useNumberId: true, generateId: "serial" as const };
const { pool, post, signUp } = await startAuth({
  user: { deleteUser: { enabled: true } },
  ...(serialIds && { advanced: { database: serial } }),
  plugins: [
    recorder,
    // With ids that can be guessed, it would insist on verified addresses.
    organization({ requireEmailVerificationOnInvitation: false }),
    standardEvents(),
    seatSync({ stripe: stripe.client(), plans: [teamPlan], organization: { enabled: true } }),
  ],
});

let events = 0;
const [ada, bob, carol, dave] = [
  await asOwed("signing up", () => signUp("ada")),
  await signUp("bob"),
  await signUp("carol"),
  await signUp("dave"),
];
const { id: organizationId } = await asOwed("creating an organization", () =>
  post("/organization/create", { name: "Lovelace", slug: "lovelace" }, ada),
);
await subscribe(organizationId);
for (const person of [bob, carol, dave]) {
  const invitation = { organizationId, email: person.email, role: "member" };
  const { id: invitationId } = await asOwed("inviting", () =>
    post("/organization/invite-member", invitation, ada),
  );
  await asOwed("accepting", () =>
    post("/organization/accept-invitation", { invitationId }, person),
  );
}
const memberId = await idOfMember(carol);
await asOwed("changing a role", () =>
  post("/organization/update-member-role", { organizationId, memberId, role: "admin" }, ada),
);
await asOwed("leaving twice at once", () =>
  Promise.allSettled([
    post("/organization/leave", { organizationId }, bob),
    post("/organization/leave", { organizationId }, bob),
  ]),
);
await asOwed("removing", () =>
  post("/organization/remove-member", { organizationId, memberIdOrEmail: dave.email }, ada),
);
await asOwed("deleting an account", () => post("/delete-user", { password }, carol));
await seatsAre(1);
await asOwed("deleting an organization", () =>
  post("/organization/delete", { organizationId }, ada),
);
await seatsAre(0);

await stripe.stop();
await pool.end();
console.log(`${events} events as owed`);

/** Makes the change, and throws unless what the tables call for was told. */
async function asOwed<Answer>(what: string, change: () => Promise<Answer>): Promise<Answer> {
  const before = await readTables(pool);
  told.length = 0;
  const answer = await change();
  const seen = sorted(told);
  const expected = sorted(owed(before, await readTables(pool)));
  if (seen.join() !== expected.join()) {
    throw new Error(
      `${what}: told ${seen.join() || "nothing"}, not ${expected.join() || "nothing"}`,
    );
  }
  events += seen.length;
  return answer;
}

async function idOfMember({ userId }: TestUser): Promise<string> {
  const { rows } = await pool.query(`select id from member where "userId" = $1`, [userId]);
  return String(rows[0].id);
}

async function subscribe(organizationId: string): Promise<void> {
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
}

async function seatsAre(expected: number): Promise<void> {
  const quantity = stripe.quantity("sub_1", seatPriceId);
  const { rows } = await pool.query("select seats from subscription");
  if (quantity !== expected || rows[0].seats !== expected) {
    throw new Error(`${quantity} seats at Stripe, ${rows[0].seats} in the row, not ${expected}`);
  }
}
