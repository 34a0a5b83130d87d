import { setTimeout as sleep } from "node:timers/promises";
import { startForwardingApp } from "./harness/app";
import { forkWorker } from "./harness/forked-worker";
import { accept, invite, signUp, type Person } from "./harness/people";
import { seatPriceId } from "./harness/plans";
import { bold, dim, green, heading, red, table, yellow } from "./harness/print";
import { runDemo } from "./harness/run-demo";
import type { WorkerMessage } from "../examples/queue/worker";

const membersMeanwhile = 3;

await runDemo(async (defer) => {
  const { app, boss, databaseUrl } = await startForwardingApp(defer);
  const lovelace = await app.startOrganization();
  console.log(`The auth server is process ${bold(process.pid)}; it only publishes.`);

  const startWorker = async () => {
    const worker = await forkWorker(databaseUrl, app.stripe.port, defer);
    console.log(`A worker is ready: process ${bold(worker.pid)}`);
    worker.messages.on("message", ({ kind, queue }: WorkerMessage) => {
      const outcome = kind === "done" ? green(kind) : kind === "failed" ? red(kind) : kind;
      console.log(`    ${dim(`worker ${worker.pid}`)} ${queue} ${outcome}`);
    });
    return worker;
  };

  let joined = 0;
  async function join(name: string): Promise<Person> {
    const person = await signUp(app.url, name);
    const invitationId = await invite(lovelace.owner, lovelace.organizationId, person.email);
    const start = performance.now();
    const { status } = await accept(person, invitationId);
    joined++;
    const time = Math.round(performance.now() - start);
    console.log(`  ${name}: POST /organization/accept-invitation → ${green(status)} in ${time} ms`);
    for (const [event] of app.emitted.splice(0)) console.log(`    published ${bold(event)}`);
    return person;
  }
  const isAbout =
    ({ userId }: Person, kind: string, queue: string) =>
    (message: WorkerMessage) =>
      message.kind === kind &&
      message.queue?.startsWith(queue) === true &&
      (message.payload as { userId: string }).userId === userId;
  const seats = () => app.stripe.quantity(lovelace.subscriptionId, seatPriceId);

  const worker = await startWorker();

  heading("Bob joins: the request answers at once, and the worker does the rest");
  const bob = await join("Bob");
  await worker.told(isAbout(bob, "done", "seat-sync"));
  await worker.told(isAbout(bob, "done", "audit-log"));
  console.log(`  seats at Stripe: 1 → ${bold(seats())}`);

  heading("Carol joins, Stripe does not answer, and the worker is killed in the middle of its job");
  app.stripe.fault = "hang";
  const carol = await join("Carol");
  await worker.told(isAbout(carol, "starts", "seat-sync"));
  await auditQueueIsEmpty();
  await worker.kill();
  console.log(`  ${yellow("SIGKILL")}: worker ${worker.pid} is gone; seats at Stripe: ${seats()}`);
  app.stripe.fault = undefined;

  heading("More people join meanwhile");
  for (let index = 1; index <= membersMeanwhile; index++) await join(`Guest${index}`);
  console.log(`  seats at Stripe: ${seats()}, for nobody works`);

  heading("A new worker picks up what was left, the interrupted job once it expired");
  await startWorker();
  const deadline = Date.now() + 60_000;
  while ((await unfinished()) > 0 && Date.now() < deadline) await sleep(200);

  const { members, quantity, seats: inTheRow } = await app.counts(lovelace);
  const auditRows = await app.adapter.count({ model: "auditLog" });
  heading("At the end");
  table({
    members,
    "seats at Stripe": quantity,
    "seats in the row": inTheRow,
    "owner + joined": 1 + joined,
    "owner + audit rows": 1 + auditRows,
  });
  const equal = [quantity, inTheRow, 1 + joined, 1 + auditRows].every((count) => count === members);
  console.log(
    equal
      ? green("Members, seats and audit rows are equal.")
      : red("Members, seats and audit rows differ."),
  );
  return equal;

  async function unfinished(queue = "%"): Promise<number> {
    const { rows } = await boss
      .getDb()
      .executeSql(
        "select count(*)::int as count from pgboss.job where state < 'completed' and name like $1",
        [queue],
      );
    return rows[0].count;
  }

  /** So that the kill interrupts the one job only: an audit row may be written twice otherwise. */
  async function auditQueueIsEmpty(): Promise<void> {
    while ((await unfinished("audit-log%")) > 0) await sleep(50);
  }
});
