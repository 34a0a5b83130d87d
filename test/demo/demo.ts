import { randomUUID } from "node:crypto";
import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { admin } from "better-auth/plugins";
import { auditedEvents, auditLog } from "../examples/audit-log";
import { seatSync } from "../examples/seat-sync";
import { standardEvents } from "../examples/standard-events";
import { startAuthServer } from "../fixtures/auth-server";
import { seatPriceId, teamPlan } from "../fixtures/plans";
import { createDatabase, startPostgres } from "../fixtures/postgres";
import { bold, dim, green, heading, red, table, yellow } from "../fixtures/print";
import { runDemo } from "../fixtures/run-demo";
import { StripeServer } from "../fixtures/stripe-server";
import { invite, password, signUp, type TestUser } from "../fixtures/users";
import { checkout } from "./plugins/checkout";
import { RequestLog, type Entry } from "./plugins/request-log";

type Request = [by: TestUser, path: string, body: object];

/** Names by id: ids alone are hard to read. */
const names = new Map<string, string>();
const thanks: string[] = [];

/** It knows the event, whose declaration is in this project, and not the plugin that emits it. */
const welcome = {
  id: "welcome",
  init(auth) {
    getBus(auth).on("billing.subscription.started", function sendThanks({ plan, seats }) {
      thanks.push(`Thank you for the plan ${plan} with ${seats} seat${seats === 1 ? "" : "s"}.`);
    });
  },
} satisfies BetterAuthPlugin;

const alwaysFails = {
  id: "always-fails",
  init(auth) {
    getBus(auth).on("organization.member.added", function failOnPurpose() {
      throw new Error("the mailing list is full");
    });
  },
} satisfies BetterAuthPlugin;

await runDemo(async (defer) => {
  const databaseUrl = await createDatabase(await startPostgres(defer), defer);
  const stripe = await new StripeServer().start();
  defer(() => stripe.stop());

  const requestLog = new RequestLog();
  const entriesById = new Map<string, Entry[]>();
  const entriesOfWebhooks: Entry[] = [];
  const server = await startAuthServer({
    databaseUrl,
    logger: requestLog.logger(),
    around: ({ headers }, serve) =>
      requestLog.record(entriesById.get(String(headers["x-request"])) ?? entriesOfWebhooks, serve),
    plugins: [
      requestLog.plugin(),
      admin(),
      welcome,
      standardEvents(),
      seatSync({ stripe: stripe.client(), plans: [teamPlan] }),
      checkout({ stripeClient: stripe.client(), context: () => server.auth.$context }),
      auditLog(),
      alwaysFails,
    ],
  });
  defer(() => server.close());
  stripe.webhookUrl = `${server.url}/api/auth/stripe/webhook`;
  const { adapter } = await server.auth.$context;

  let events = 0;
  let seats = 0;
  let subscriptionId = "";

  /** Sends the requests at once and prints what each of them led to. */
  async function show(title: string, ...requests: Request[]) {
    const outcomes = await Promise.all(
      requests.map(async ([by, path, body]) => {
        const entries: Entry[] = [];
        const id = randomUUID();
        entriesById.set(id, entries);
        const answer = await by.client.post(path, body, { "x-request": id });
        if (answer.body?.slug) names.set(answer.body.id, `<${answer.body.name}>`);
        const status = answer.status < 400 ? green(answer.status) : yellow(answer.status);
        return { body: answer.body, path: `POST ${path} ${dim("→")} ${status}`, entries };
      }),
    );
    await print(title, ...outcomes);
    return outcomes[0]!.body;
  }

  async function print(title: string, ...outcomes: { path: string; entries: Entry[] }[]) {
    heading(title);
    const isOne = outcomes.length === 1;
    const counts = new Map<string, number>();
    for (const { path, entries } of outcomes) {
      events += entries.filter(isAudited).length;
      for (const line of [`  ${path}`, ...entries.flatMap((entry) => describe(entry, isOne))]) {
        if (isOne) console.log(line);
        else counts.set(line, (counts.get(line) ?? 0) + 1);
      }
    }
    for (const [line, count] of counts) console.log(dim(`  ${count} ×`) + line);

    await stripe.delivered();
    const before = seats;
    seats = stripe.quantity(subscriptionId, seatPriceId) ?? 0;
    console.log(
      seats === before
        ? dim(`  seats at Stripe: ${seats}, as before`)
        : `  seats at Stripe: ${before} → ${bold(seats)}`,
    );
  }

  async function arrive(name: string): Promise<TestUser> {
    const user = await signUp(server.url, name);
    names.set(user.userId, `<${name}>`);
    return user;
  }

  console.log(dim(`Better Auth at ${server.url}, PostgreSQL at ${new URL(databaseUrl).host},`));
  console.log(dim(`and in the place of Stripe a server at 127.0.0.1:${stripe.port}`));

  const ada = await arrive("Ada");
  const { id: organizationId } = await show(
    "Ada creates an organization, and so is its first member",
    [ada, "/organization/create", { name: "Lovelace", slug: "lovelace" }],
  );
  const order = { plan: "team", referenceId: organizationId, customerType: "organization" };
  const session = await show("Ada goes to the checkout of Better Auth's Stripe plugin", [
    ada,
    "/subscription/upgrade",
    order,
  ]);
  entriesOfWebhooks.length = 0;
  subscriptionId = stripe.pay(session.id);
  await stripe.delivered();
  await print("Ada pays: events of the app's own, and a plugin that does not know who emits them", {
    path: `Stripe: POST /stripe/webhook ${dim("→")} ${green(200)}`,
    entries: [...entriesOfWebhooks],
  });
  for (const line of thanks) console.log(`  mail to Ada: ${line}`);

  const accept = async (guest: TestUser): Promise<Request> => {
    const invitationId = await invite(ada, organizationId, guest.email);
    return [guest, "/organization/accept-invitation", { invitationId }];
  };
  const bob = await arrive("Bob");
  const acceptance = await accept(bob);
  const { member } = await show("Bob accepts an invitation", acceptance);
  const memberId: string = member.id;
  await show("Bob accepts it again, which fails, so nothing is emitted", acceptance);
  const role = { organizationId, memberId, role: "admin" };
  await show("Ada makes Bob an admin", [ada, "/organization/update-member-role", role]);

  const guests = await Promise.all(
    Array.from({ length: 20 }, (_, index) => arrive(`Guest${index + 1}`)),
  );
  const acceptances = await Promise.all(guests.map(accept));
  await show("Twenty guests accept invitations at once", ...acceptances);

  const [first, second, third, ...others] = guests as [TestUser, TestUser, TestUser, TestUser];
  const removal = { organizationId, memberIdOrEmail: memberId };
  await show("Ada removes Bob", [ada, "/organization/remove-member", removal]);
  await show("A guest leaves", [first, "/organization/leave", { organizationId }]);
  await show("Another guest deletes their account, and with it their membership", [
    second,
    "/delete-user",
    { password },
  ]);
  const root = await arrive("Root");
  const where = [{ field: "id", value: root.userId }];
  await adapter.update({ model: "user", where, update: { role: "admin" } });
  await show("An admin removes the account of a guest", [
    root,
    "/admin/remove-user",
    { userId: third.userId },
  ]);

  const entries: Entry[] = [];
  await requestLog.record(entries, async () => {
    const body = { name: "Engine", slug: "engine", userId: ada.userId };
    const { id: organizationId } = await server.auth.api.createOrganization({ body });
    names.set(organizationId, "<Engine>");
    for (const { userId } of others.slice(0, 2)) {
      await server.auth.api.addMember({ body: { userId, organizationId, role: "member" } });
    }
  });
  events += entries.filter(isAudited).length;
  const engine = { organizationId: [...names.keys()].at(-1) };
  await show("Ada deletes another organization, with its three members", [
    ada,
    "/organization/delete",
    engine,
  ]);

  const of = (field: string) => [{ field, value: organizationId }];
  const members = await adapter.count({ model: "member", where: of("organizationId") });
  const subscription = { model: "subscription", where: of("referenceId") };
  const inTheRow = (await adapter.findOne<{ seats: number }>(subscription))?.seats;
  const auditRows = await adapter.count({ model: "auditLog" });
  heading("At the end");
  table({
    members,
    "seats at Stripe": seats,
    "seats in the row": inTheRow,
    events,
    "audit rows": auditRows,
  });
  const isEqual = members === seats && members === inTheRow && events === auditRows;
  console.log(isEqual ? green("Members and seats are equal.") : red("Members and seats differ."));
  return isEqual;
});

function isAudited(entry: Entry): boolean {
  return entry.kind === "event" && auditedEvents.some((audited) => audited === entry.name);
}

function describe(entry: Entry, withPayload: boolean): string[] {
  switch (entry.kind) {
    case "event": {
      const fields = Object.entries(entry.payload as object);
      const payload = fields.map(([field, value]) => `${field}: ${names.get(value) ?? value}`);
      return [
        `    ${bold(entry.name)}`,
        ...(withPayload ? [dim(`    ${payload.join(", ")}`)] : []),
      ];
    }
    case "done":
      return [`      ${entry.name} ${green("done")}`];
    case "failed":
      return [`      ${entry.name} ${red("failed")}`];
    case "log": {
      // In two lines if need be, so that they fit a terminal.
      const [, start = entry.text, end] = /^(.{1,56}) (.*)$/.exec(entry.text) ?? [];
      const rest = end === undefined ? [] : [dim(`              ${end}`)];
      return [dim(`      logged: ${start}`), ...rest];
    }
  }
}
