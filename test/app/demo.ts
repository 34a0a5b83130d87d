import { randomUUID } from "node:crypto";
import { startAuthServer } from "./harness/auth-server";
import { checkout } from "./plugins/checkout";
import type { Answer } from "./harness/client";
import { Narration, type Happening } from "./plugins/narration";
import { createOrganization, invite, must, password, signUp, type Person } from "./harness/people";
import { alwaysFails } from "./plugins/always-fails";
import { auditLog } from "../examples/audit-log";
import { seatSync } from "../examples/seat-sync";
import { standardEvents } from "../examples/standard-events";
import { seatPriceId, teamPlan } from "./harness/plans";
import { createDatabase, startPostgres } from "./harness/postgres";
import { bold, dim, green, heading, red, table, yellow } from "./harness/print";
import { runDemo } from "./harness/run-demo";
import { StripeServer } from "./harness/stripe-server";

interface Request {
  by: Person;
  path: string;
  body: object;
}

const subscriptionId = "sub_lovelace";

await runDemo(async (defer) => {
  const databaseUrl = await createDatabase(await startPostgres(defer), defer);
  const stripe = await new StripeServer().start();
  defer(() => stripe.stop());

  const narration = new Narration();
  const happeningsByRequest = new Map<string, Happening[]>();
  const server = await startAuthServer({
    databaseUrl,
    logger: narration.logger(),
    around: (request, serve) => {
      const happenings = happeningsByRequest.get(String(request.headers["x-request"]));
      return happenings ? narration.during(happenings, serve) : serve();
    },
    plugins: [
      narration.plugin(),
      checkout(),
      standardEvents(),
      seatSync({
        stripe: stripe.client(),
        plans: [teamPlan],
        organization: { enabled: true },
      }),
      auditLog(),
      alwaysFails(),
    ],
  });
  defer(() => server.close());

  let events = 0;
  const seatsAtStripe = () => stripe.quantity(subscriptionId, seatPriceId) ?? 0;

  /** Sends the requests at once and prints what each of them led to. */
  async function show(title: string, ...requests: Request[]): Promise<Answer[]> {
    const seatsBefore = seatsAtStripe();
    const outcomes = await Promise.all(
      requests.map(async ({ by, path, body }) => {
        const happenings: Happening[] = [];
        const id = randomUUID();
        happeningsByRequest.set(id, happenings);
        const answer = await by.client.post(path, body, { "x-request": id });
        events += happenings.filter(({ kind }) => kind === "event").length;
        return { path, answer, happenings };
      }),
    );

    heading(title);
    const one = outcomes.length === 1;
    const lines = outcomes.flatMap(({ path, answer: { status }, happenings }) => [
      `  POST ${path} ${dim("→")} ${status < 400 ? green(status) : yellow(status)}`,
      ...happenings.map((happening) => describe(happening, one)),
    ]);
    if (one) lines.forEach((line) => console.log(line));
    else countEqual(lines).forEach((count, line) => console.log(dim(`  ${count} ×`) + line));

    const seats = seatsAtStripe();
    console.log(
      seats === seatsBefore
        ? dim(`  seats at Stripe: ${seats}, as before`)
        : `  seats at Stripe: ${seatsBefore} → ${bold(seats)}`,
    );
    return outcomes.map(({ answer }) => answer);
  }

  console.log(dim(`Better Auth at ${server.url}, PostgreSQL at ${new URL(databaseUrl).host}`));

  const ada = await signUp(server.url, "Ada");
  const organizationId = await createOrganization(ada, "Lovelace");
  stripe.addSubscription({
    id: subscriptionId,
    status: "active",
    items: [{ id: "si_seats", price: { id: seatPriceId }, quantity: 1 }],
  });
  must(
    await ada.client.post("/checkout", {
      plan: "team",
      referenceId: organizationId,
      stripeSubscriptionId: subscriptionId,
      status: "active",
      seats: 1,
    }),
  );
  console.log(dim("Ada signed up, created an organization, and pays for 1 seat."));

  const bob = await signUp(server.url, "Bob");
  const invitation = { invitationId: await invite(ada, organizationId, bob.email) };
  const acceptance = { by: bob, path: "/organization/accept-invitation", body: invitation };
  const [accepted] = await show("Bob accepts an invitation", acceptance);
  const memberId: string = accepted?.body.member.id;
  await show("Bob accepts it again, which fails, so nothing is emitted", acceptance);
  await show("Ada makes Bob an admin", {
    by: ada,
    path: "/organization/update-member-role",
    body: { organizationId, memberId, role: "admin" },
  });

  const guests = await Promise.all(
    Array.from({ length: 20 }, (_, index) => signUp(server.url, `Guest${index + 1}`)),
  );
  const acceptances = guests.map(async (guest) => ({
    by: guest,
    path: "/organization/accept-invitation",
    body: { invitationId: await invite(ada, organizationId, guest.email) },
  }));
  await show("Twenty guests accept invitations at once", ...(await Promise.all(acceptances)));

  await show("Ada removes Bob", {
    by: ada,
    path: "/organization/remove-member",
    body: { organizationId, memberIdOrEmail: memberId },
  });
  await show("A guest leaves", {
    by: guests[0]!,
    path: "/organization/leave",
    body: { organizationId },
  });
  await show("Another guest deletes their account, and with it their membership", {
    by: guests[1]!,
    path: "/delete-user",
    body: { password },
  });

  const { adapter } = await server.auth.$context;
  const members = await adapter.count({
    model: "member",
    where: [{ field: "organizationId", value: organizationId }],
  });
  const subscription = await adapter.findOne<{ seats: number }>({
    model: "subscription",
    where: [{ field: "referenceId", value: organizationId }],
  });
  const auditRows = await adapter.count({ model: "auditLog" });
  const seats = seatsAtStripe();
  heading("At the end");
  table({
    members,
    "seats at Stripe": seats,
    "seats in the row": subscription?.seats,
    events,
    "audit rows": auditRows,
  });
  const equal = members === seats && members === subscription?.seats && events === auditRows;
  console.log(equal ? green("Members and seats are equal.") : red("Members and seats differ."));
  return equal;
});

function describe(happening: Happening, whole: boolean): string {
  switch (happening.kind) {
    case "event":
      return `    ${bold(happening.name)}${whole ? ` ${JSON.stringify(happening.payload)}` : ""}`;
    case "handler":
      return "failure" in happening
        ? `      ${happening.name} ${red("failed")}`
        : `      ${happening.name} ${green("done")}`;
    case "log":
      return dim(`      logged: ${happening.text}`);
  }
}

function countEqual(lines: string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1);
  return counts;
}
