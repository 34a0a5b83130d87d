import { randomUUID } from "node:crypto";
import { admin } from "better-auth/plugins";
import { startAuthServer } from "../fixtures/auth-server";
import { checkout } from "./plugins/checkout";
import type { Answer } from "../fixtures/client";
import { Narration, type Happening } from "./plugins/narration";
import { invite, password, signUp, type TestUser } from "../fixtures/users";
import { alwaysFails } from "./plugins/always-fails";
import { welcome } from "./plugins/welcome";
import { auditedEvents, auditLog } from "../examples/audit-log";
import { seatSync } from "../examples/seat-sync";
import { standardEvents } from "../examples/standard-events";
import { seatPriceId, teamPlan } from "../fixtures/plans";
import { createDatabase, startPostgres } from "../fixtures/postgres";
import { bold, dim, green, heading, red, table, yellow } from "../fixtures/print";
import { runDemo } from "../fixtures/run-demo";
import { StripeServer } from "../fixtures/stripe-server";

interface Request {
  by: TestUser;
  path: string;
  body: object;
}

const columns = 80;

await runDemo(async (defer) => {
  const databaseUrl = await createDatabase(await startPostgres(defer), defer);
  const stripe = await new StripeServer().start();
  defer(() => stripe.stop());

  const narration = new Narration();
  const thanks: string[] = [];
  /** What is printed for an id that nobody could tell from another. */
  const names = new Map<string, string>();
  const happeningsByRequest = new Map<string, Happening[]>();
  let happeningsOfWebhooks: Happening[] | undefined;
  const server = await startAuthServer({
    databaseUrl,
    logger: narration.logger(),
    around: (request, serve) => {
      const happenings =
        happeningsByRequest.get(String(request.headers["x-request"])) ?? happeningsOfWebhooks;
      return happenings ? narration.during(happenings, serve) : serve();
    },
    plugins: [
      narration.plugin(),
      admin(),
      welcome(thanks),
      standardEvents(),
      seatSync({
        stripe: stripe.client(),
        plans: [teamPlan],
        organization: { enabled: true },
      }),
      checkout({ stripeClient: stripe.client(), context: () => server.auth.$context }),
      auditLog(),
      alwaysFails(),
    ],
  });
  defer(() => server.close());
  stripe.webhookUrl = `${server.url}/api/auth/stripe/webhook`;

  let events = 0;
  let subscriptionId = "";
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
        events += happenings.filter(isAudited).length;
        if (answer.body?.slug) names.set(answer.body.id, `<${answer.body.name}>`);
        return { path, answer, happenings };
      }),
    );

    heading(title);
    const one = outcomes.length === 1;
    const lines = outcomes.flatMap(({ path, answer: { status }, happenings }) => [
      `  POST ${path} ${dim("→")} ${status < 400 ? green(status) : yellow(status)}`,
      ...happenings.flatMap((happening) => describe(happening, one ? names : undefined)),
    ]);
    if (one) lines.forEach((line) => console.log(line));
    else countEqual(lines).forEach((count, line) => console.log(dim(`  ${count} ×`) + line));

    await stripe.delivered();
    showSeats(seatsBefore);
    return outcomes.map(({ answer }) => answer);
  }

  /** Pays, and prints what the webhooks led to. */
  async function showPayment(title: string, sessionId: string): Promise<void> {
    const happenings: Happening[] = [];
    happeningsOfWebhooks = happenings;
    subscriptionId = stripe.pay(sessionId);
    await stripe.delivered();
    happeningsOfWebhooks = undefined;

    heading(title);
    console.log(`  Stripe: POST /stripe/webhook ${dim("→")} ${green(200)}`);
    for (const line of happenings.flatMap((happening) => describe(happening, names))) {
      console.log(line);
    }
    showSeats(0);
  }

  function showSeats(before: number): void {
    const seats = seatsAtStripe();
    console.log(
      seats === before
        ? dim(`  seats at Stripe: ${seats}, as before`)
        : `  seats at Stripe: ${before} → ${bold(seats)}`,
    );
  }

  console.log(dim(`Better Auth at ${server.url}, PostgreSQL at ${new URL(databaseUrl).host},`));
  console.log(dim(`and in the place of Stripe a server at 127.0.0.1:${stripe.port}`));

  async function arrive(name: string): Promise<TestUser> {
    const person = await signUp(server.url, name);
    names.set(person.userId, `<${name}>`);
    return person;
  }
  const { adapter } = await server.auth.$context;

  const ada = await arrive("Ada");
  const [created] = await show("Ada creates an organization, and so is its first member", {
    by: ada,
    path: "/organization/create",
    body: { name: "Lovelace", slug: "lovelace" },
  });
  const organizationId: string = created?.body.id;
  const [session] = await show("Ada goes to the checkout of Better Auth's Stripe plugin", {
    by: ada,
    path: "/subscription/upgrade",
    body: { plan: "team", referenceId: organizationId, customerType: "organization" },
  });
  await showPayment(
    "Ada pays: events of the app's own, and a plugin that does not know who emits them",
    session?.body.id,
  );
  for (const line of thanks) console.log(`  mail to Ada: ${line}`);

  const bob = await arrive("Bob");
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
    Array.from({ length: 20 }, (_, index) => arrive(`Guest${index + 1}`)),
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

  const root = await arrive("Root");
  await adapter.update({
    model: "user",
    where: [{ field: "id", value: root.userId }],
    update: { role: "admin" },
  });
  await show("An admin removes the account of a guest", {
    by: root,
    path: "/admin/remove-user",
    body: { userId: guests[2]!.userId },
  });

  const meanwhile: Happening[] = [];
  const otherId = await narration.during(meanwhile, async () => {
    const engine = { name: "Engine", slug: "engine", userId: ada.userId };
    const { id: organizationId } = await server.auth.api.createOrganization({ body: engine });
    for (const { userId } of guests.slice(3, 5)) {
      await server.auth.api.addMember({ body: { userId, organizationId, role: "member" } });
    }
    return organizationId;
  });
  events += meanwhile.filter(isAudited).length;
  names.set(otherId, "<Engine>");
  await show("Ada deletes another organization, with its three members", {
    by: ada,
    path: "/organization/delete",
    body: { organizationId: otherId },
  });

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

/** Describes what happened in lines; with `names`, the payloads of events too. */
function describe(happening: Happening, names?: Map<string, string>): string[] {
  switch (happening.kind) {
    case "event": {
      const fields = Object.entries(happening.payload as object);
      const payload = fields.map(([field, value]) => `${field}: ${names?.get(value) ?? value}`);
      return [`    ${bold(happening.name)}`, ...(names ? [dim(`    ${payload.join(", ")}`)] : [])];
    }
    case "handler":
      return [
        "failure" in happening
          ? `      ${happening.name} ${red("failed")}`
          : `      ${happening.name} ${green("done")}`,
      ];
    case "log":
      return wrap(happening.text, columns - 24).map((line, index) =>
        dim(`      ${index === 0 ? "logged:" : "       "} ${line}`),
      );
  }
}

function isAudited(happening: Happening): boolean {
  return happening.kind === "event" && auditedEvents.some((audited) => audited === happening.name);
}

function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function countEqual(lines: string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1);
  return counts;
}
