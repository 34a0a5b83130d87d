import { auditedEvents, createAuditLog } from "../examples/audit-log";
import { startWorker, type EventJob, type Queues } from "../examples/outbox/worker";
import { createSeatSync } from "../examples/seat-sync";
import { createAuth } from "../fixtures/auth-server";
import { connectToParent } from "../fixtures/child";
import { tables } from "../fixtures/outbox";
import { stripeClient, teamPlan } from "../fixtures/stripe-server";

/** What the worker sends to the process that started it. */
export interface WorkerMessage {
  readonly kind: "ready" | "report";
  readonly text?: string;
}

const { send } = connectToParent<WorkerMessage>();
const report = (text: string) => send({ kind: "report", text });
const database = new URL(process.env["DATABASE_URL"]!);
const context = await createAuth({ databaseUrl: database.href, plugins: tables }).auth.$context;

const syncSeats = reporting(
  "seat-sync",
  createSeatSync(context, {
    stripe: stripeClient(Number(process.env["STRIPE_PORT"])),
    plans: [teamPlan],
  }),
);
const audit = (event: (typeof auditedEvents)[number]) =>
  reporting("audit-log", createAuditLog(context, event));
const thank = reporting("thanks", ({ plan }: { plan: string }) =>
  report(`says: Thank you for the plan ${plan}.`),
);

const queues: Queues = {
  "seat-sync": {
    "organization.member.added": syncSeats,
    "organization.member.removed": syncSeats,
  },
  "audit-log": Object.fromEntries(auditedEvents.map((event) => [event, audit(event)])),
  thanks: { "billing.subscription.started": thank },
};
database.searchParams.set("query_timeout", "30000");
database.searchParams.set("keepAlive", "true");
const worker = await startWorker({ databaseUrl: database.href, queues });
process.once("SIGTERM", worker.stop);
send({ kind: "ready" });

/** The same handler, which reports to the parent when it starts and when it is done. */
function reporting<Payload>(
  queue: string,
  handler: (payload: Payload, job: EventJob) => unknown,
): (payload: Payload, job: EventJob) => Promise<void> {
  return async (payload, job) => {
    report(`${queue}: ${job.event} starts`);
    await handler(payload, job);
    report(`${queue}: ${job.event} done`);
  };
}
