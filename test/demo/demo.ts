import { AsyncLocalStorage } from "node:async_hooks";
import { getBus, type EventHandler } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { auditedEvents, auditLog } from "../examples/audit-log";
import { onEveryEvent } from "../examples/recipes/every-event";
import { seatSync } from "../examples/seat-sync";
import { standardEvents } from "../examples/standard-events";
import { startAuthServer } from "../fixtures/auth-server";
import { seatPriceId, StripeServer, teamPlan } from "../fixtures/stripe-server";
import { createDatabase, startPostgres } from "../fixtures/postgres";
import { bold, dim, green, heading, red, table, yellow } from "../fixtures/print";
import { runDemo } from "../fixtures/run-demo";
import { invite, password, signUp, type TestUser } from "../fixtures/users";
import { checkout } from "./checkout";

type Request = [by: TestUser, path: string, body: object];

/** Names by id: ids alone are hard to read. */
const names = new Map<string, string>();
/** What happened in the requests, to be printed. */
const log = new AsyncLocalStorage<string[]>();
const write = (line: string) => log.getStore()?.push(line);
let events = 0;

/**
 * Writes events and handlers for the request in whose async context they are. It has to come before the
 * plugins that use the bus.
 */
const requestLog: BetterAuthPlugin = {
  id: "request-log",
  init(auth) {
    const bus = getBus(auth);
    onEveryEvent(bus, (event, payload) => {
      if (auditedEvents.some((audited) => audited === event)) events++;
      const fields = Object.entries(payload as object).map((field) => field.join(": "));
      write(`    ${bold(event)}`);
      write(dim(`    ${fields.join(", ")}`));
    });
    const { on } = bus;
    bus.on = (event, handler) => on.call(bus, event, reported(handler));
  },
};

/** The same handler, which writes how it ended. */
function reported(handler: EventHandler<never>): EventHandler<unknown> {
  return async (payload) => {
    let end = red("failed");
    try {
      await handler(payload as never);
      end = green("done");
    } finally {
      write(`      ${handler.name} ${end}`);
    }
  };
}

/** It knows the event, whose declaration is in this project, and not the plugin that emits it. */
const welcome = {
  id: "welcome",
  init(auth) {
    getBus(auth).on("billing.subscription.started", function sendThanks({ plan, seats }) {
      write(
        `      mail: Thank you for the plan ${plan} with ${seats} seat${seats === 1 ? "" : "s"}.`,
      );
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

  const lines: string[] = [];
  const webhookLines: string[] = [];
  const server = await startAuthServer({
    databaseUrl,
    logger: {
      log: (level, message, ...details) => {
        const [event, ...rest] = details;
        write(dim(`      logged: ${level.toUpperCase()} ${message} ${event}`));
        for (const detail of rest) write(dim(`              ${detail}`));
      },
    },
    around: ({ url }, serve) => log.run(url!.endsWith("/webhook") ? webhookLines : lines, serve),
    plugins: [
      requestLog,
      welcome,
      standardEvents(),
      seatSync({ stripe: stripe.client(), plans: [teamPlan] }),
      checkout(stripe.client(), () => server.auth.$context),
      auditLog(),
      alwaysFails,
    ],
  });
  defer(() => server.close());
  stripe.webhookUrl = `${server.url}/api/auth/stripe/webhook`;
  const { adapter } = await server.auth.$context;

  let seats = 0;
  let subscriptionId = "";

  /** Sends the requests at once and prints what they led to. */
  async function show(title: string, ...requests: Request[]) {
    lines.length = 0;
    const answers = await Promise.all(
      requests.map(async ([by, path, body]) => {
        const answer = await by.client.post(path, body);
        if (answer.body?.slug) names.set(answer.body.id, `<${answer.body.name}>`);
        const status = answer.status < 400 ? green(answer.status) : yellow(answer.status);
        return { body: answer.body, path: `  POST ${path} ${dim("→")} ${status}` };
      }),
    );
    await print(title, [...answers.map(({ path }) => path), ...lines]);
    return answers[0]!.body;
  }

  /** Of several requests, it prints how often they led to each line; their payloads differ. */
  async function print(title: string, printed: string[]) {
    heading(title);
    const counts = new Map<string, number>();
    for (const line of printed) counts.set(line, (counts.get(line) ?? 0) + 1);
    const several = [...counts].filter(([, count]) => count > 1);
    const counted = several.map(([line, count]) => dim(`  ${count} ×`) + line);
    const isOne = counts.get(printed[0]!) === 1;
    for (const line of isOne ? printed : counted)
      console.log(line.replace(/\w{32}/g, (id) => names.get(id) ?? id));

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
  subscriptionId = stripe.pay(session.id);
  await stripe.delivered();
  await print("Ada pays: events of the app's own, and a plugin that does not know who emits them", [
    `  Stripe: POST /stripe/webhook ${dim("→")} ${green(200)}`,
    ...webhookLines,
  ]);

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

  const [first, second, ...others] = guests as [TestUser, TestUser, TestUser];
  const removal = { organizationId, memberIdOrEmail: memberId };
  await show("Ada removes Bob", [ada, "/organization/remove-member", removal]);
  await show("A guest leaves", [first, "/organization/leave", { organizationId }]);
  await show("Another guest deletes their account, and with it their membership", [
    second,
    "/delete-user",
    { password },
  ]);

  const body = { name: "Engine", slug: "engine", userId: ada.userId };
  const { id: engineId } = await server.auth.api.createOrganization({ body });
  names.set(engineId, "<Engine>");
  for (const { userId } of others.slice(0, 2)) {
    await server.auth.api.addMember({ body: { userId, organizationId: engineId, role: "member" } });
  }
  await show("Ada deletes another organization, with its three members", [
    ada,
    "/organization/delete",
    { organizationId: engineId },
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
