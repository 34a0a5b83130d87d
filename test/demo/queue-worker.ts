import type { EventName } from "@kernia/events";
import { auditedEvents, createAuditLog } from "../examples/audit-log";
import { startWorker, type EventJob, type Queues } from "../examples/outbox/worker";
import { createSeatSync } from "../examples/seat-sync";
import { createAuth } from "../fixtures/auth-server";
import { connectToParent } from "../fixtures/child";
import { tables } from "../fixtures/outbox";
import { teamPlan } from "../fixtures/plans";
import { stripeClient } from "../fixtures/stripe-server";

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
const { auth } = createAuth({ databaseUrl: database.href, plugins: tables });
const context = await auth.$context;

const syncSeats = createSeatSync(context, {
  stripe: stripeClient(Number(process.env["STRIPE_PORT"])),
  plans: [teamPlan],
});

const queues: Queues = {
  "seat-sync": {
    "organization.member.added": syncSeats,
    "organization.member.removed": syncSeats,
  },
  "audit-log": Object.fromEntries(
    auditedEvents.map((event) => [event, createAuditLog(context, event)]),
  ),
  thanks: {
    "billing.subscription.started": ({ plan }) =>
      send({ kind: "thanks", text: `Thank you for the plan ${plan}.` }),
  },
};

database.searchParams.set("query_timeout", "60000");
database.searchParams.set("keepAlive", "true");
const worker = await startWorker({ databaseUrl: database.href, queues: reporting(queues) });
process.once("SIGTERM", worker.stop);
send({ kind: "ready" });

/** The same handlers, each of which sends to the parent when it starts and when it is done. */
function reporting(queues: Queues): Queues {
  const entries = Object.entries(queues).map(([queue, handlers]) => {
    const reported = Object.entries(handlers).map(([event, handler]) => [
      event,
      async (payload: never, job: EventJob) => {
        send({ kind: "starts", queue, event, payload });
        await handler(payload, job);
        send({ kind: "done", queue, event, payload });
      },
    ]);
    return [queue, Object.fromEntries(reported)];
  });
  return Object.fromEntries(entries);
}
