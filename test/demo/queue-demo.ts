import { startChild } from "../fixtures/child";
import { createOutboxDatabase, untilAllDone } from "../fixtures/outbox";
import { accept, createOrganization, expectOk, invite, signUp } from "../fixtures/users";
import { seatPriceId, StripeServer } from "../fixtures/stripe-server";
import { bold, dim, green, heading, red, table, yellow } from "../fixtures/print";
import { runDemo } from "../fixtures/run-demo";
import type { AuthServerMessage } from "./queue-auth-server";
import type { WorkerMessage } from "./queue-worker";

await runDemo(async (defer) => {
  const { databaseUrl, pool } = await createOutboxDatabase(defer);
  const stripe = await new StripeServer().start();
  defer(() => stripe.stop());
  const environment = { DATABASE_URL: databaseUrl, STRIPE_PORT: String(stripe.port) };

  async function startAuthServer(port = "0") {
    const module = new URL("queue-auth-server.ts", import.meta.url);
    const env = { ...environment, PORT: port };
    const server = await startChild<AuthServerMessage>(module, { env, defer });
    console.log(`  the auth server is process ${bold(server.pid)}`);
    return server;
  }

  let quiet = false;
  async function startWorker() {
    const worker = await startChild<WorkerMessage>(new URL("queue-worker.ts", import.meta.url), {
      env: environment,
      defer,
      onMessage({ text }, pid) {
        if (text && !quiet) console.log(`    ${dim(`worker ${pid}`)} ${text}`);
      },
    });
    console.log(`  the worker is process ${bold(worker.pid)}`);
    return worker;
  }

  let subscriptionId = "";
  let before: number | undefined;
  const seats = () => stripe.quantity(subscriptionId, seatPriceId);
  async function printSeatsOnceDone(): Promise<void> {
    await untilAllDone(pool);
    console.log(`  seats at Stripe: ${before} → ${bold(seats())}`);
    before = seats();
  }

  heading("An auth server that publishes no standard event, a worker, and triggers");
  console.log(
    dim(`  Stripe is a stand-in on loopback, ${new URL(databaseUrl).host} is PostgreSQL.`),
  );
  const server = await startAuthServer();
  const { url } = server.ready;
  const worker = await startWorker();
  const ada = await signUp(url, "Ada");
  const organizationId = await createOrganization(ada, "Lovelace");
  await untilAllDone(pool);
  console.log(dim("  Ada signed up and created an organization."));

  heading("Ada pays for a seat: an event of one's own, published from a handler");
  const order = { plan: "team", referenceId: organizationId, customerType: "organization" };
  const { body: session } = expectOk(await ada.client.post("/subscription/upgrade", order));
  stripe.webhookUrl = `${url}/api/auth/stripe/webhook`;
  subscriptionId = stripe.pay(session.id);
  await stripe.delivered();
  // The auth server is about to be killed, and the worker needs no webhook.
  stripe.webhookUrl = undefined;
  await untilAllDone(pool);
  before = seats();

  heading("Bob joins: the request answers, and the worker does the rest");
  await join("Bob");
  await printSeatsOnceDone();

  heading("Twenty members are added by one SQL statement, past the auth server");
  quiet = true;
  const { rowCount } = await pool.query(
    `with users as (
      insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
      select gen_random_uuid(), 'Guest', gen_random_uuid() || '@example.com', false, now(), now()
      from generate_series(1, 20) returning id
    )
    insert into member (id, "organizationId", "userId", role, "createdAt")
    select gen_random_uuid(), $1, id, 'member', now() from users`,
    [organizationId],
  );
  console.log(`  insert into member …: ${rowCount} rows`);
  await untilAllDone(pool);
  quiet = false;
  console.log(dim("    20 × seat-sync, 20 × audit-log"));
  await printSeatsOnceDone();

  heading("The auth server is killed while eight users accept invitations");
  const guests = await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      const guest = await signUp(url, `Guest${index + 1}`);
      return { guest, invitationId: await invite(ada, organizationId, guest.email) };
    }),
  );
  quiet = true;
  const answers = guests.map(({ guest, invitationId }) => accept(guest, invitationId));
  await Promise.race(answers);
  await server.kill();
  const settled = await Promise.allSettled(answers);
  const answered = settled.filter(({ status }) => status === "fulfilled").length;
  console.log(`  ${yellow("SIGKILL")}: the auth server had answered ${answered} of 8`);
  await startAuthServer(new URL(url).port);
  await untilAllDone(pool);
  quiet = false;
  console.log(`  ${(await counts()).members! - before!} of them are members`);
  await printSeatsOnceDone();

  heading("The worker is killed in the middle of a job, while Stripe does not answer");
  const seatSync = stripe.hold("GET");
  await join("Carol");
  await seatSync.arrived;
  await worker.kill();
  console.log(`  ${yellow("SIGKILL")}: the worker`);
  seatSync.release();
  await join("Dave");
  console.log(`  seats at Stripe: ${seats()}, as before: no worker is running`);

  heading("A new worker finishes what was left");
  console.log(dim("  It does Dave's job at once, Carol's after 10 seconds without a heartbeat."));
  await startWorker();
  await printSeatsOnceDone();

  const { members, inTheRow, auditRows } = await counts();
  heading("At the end");
  table({
    members,
    "seats at Stripe": seats(),
    "seats in the row": inTheRow,
    "audit rows": auditRows,
  });
  const equal = [seats(), inTheRow, auditRows].every((count) => count === members);
  console.log(
    equal
      ? green("Members, seats and audit rows are equal.")
      : red("Members, seats and audit rows differ."),
  );
  return equal;

  async function join(name: string): Promise<void> {
    const user = await signUp(url, name);
    const invitationId = await invite(ada, organizationId, user.email);
    const start = performance.now();
    const { status } = await accept(user, invitationId);
    const time = Math.round(performance.now() - start);
    console.log(`  ${name}: POST /organization/accept-invitation → ${green(status)} in ${time} ms`);
  }

  async function counts(): Promise<Record<string, number>> {
    const { rows } = await pool.query(
      `select
        (select count(*)::int from member where "organizationId" = $1) as members,
        (select seats from subscription where "referenceId" = $1) as "inTheRow",
        (select count(*)::int from "auditLog") as "auditRows"`,
      [organizationId],
    );
    return rows[0];
  }
});
