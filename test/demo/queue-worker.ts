import type { EventName } from "@kernia/events";
import { auditedEvents, createAuditLog } from "../examples/audit-log";
import { startWorker, type EventJob, type Queues } from "../examples/outbox/worker";
import { createSeatSync } from "../examples/seat-sync";
import { createAuth } from "../fixtures/auth-server";
import { connectToParent } from "../fixtures/child";
import { tables } from "../fixtures/outbox";
import { stripeClient, teamPlan } from "../fixtures/stripe-server";

/** What the worker sends to the process that started it. */
export interface WorkerMessage {
  readonly kind: "ready" | "starts" | "done" | "thanks";
  readonly queue?: string;
  readonly event?: EventName;
  readonly payload?: unknown;
  readonly text?: string;
}

const { send } = connectToParent<WorkerMessage>();
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
  send({ kind: "thanks", text: `Thank you for the plan ${plan}.` }),
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

/** The same handler, which sends to the parent when it starts and when it is done. */
function reporting<Payload>(
  queue: string,
  handler: (payload: Payload, job: EventJob) => unknown,
): (payload: Payload, job: EventJob) => Promise<void> {
  return async (payload, job) => {
    const { event } = job;
    send({ kind: "starts", queue, event, payload });
    await handler(payload, job);
    send({ kind: "done", queue, event, payload });
  };
}
