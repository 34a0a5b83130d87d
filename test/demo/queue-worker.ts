import type { EventName } from "@kernia/events";
import PgBoss from "pg-boss";
import { auditedEvents, createAuditLog } from "../examples/audit-log";
import { startWorker, type EventJob, type Queues } from "../examples/outbox/worker";
import { createSeatSync } from "../examples/seat-sync";
import { createAuth } from "../fixtures/auth-server";
import { parentOf } from "../fixtures/child";
import { tables } from "../fixtures/outbox";
import { teamPlan } from "../fixtures/plans";
import { stripeClient } from "../fixtures/stripe-server";

/** What the worker tells the process that started it. */
export interface WorkerMessage {
  readonly kind: "ready" | "starts" | "done" | "failed" | "thanks";
  readonly queue?: string;
  readonly event?: EventName;
  readonly payload?: unknown;
  readonly text?: string;
}

const { tell } = parentOf<WorkerMessage>();
const databaseUrl = process.env["DATABASE_URL"]!;
const { auth } = createAuth({ databaseUrl, plugins: tables });
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
      tell({ kind: "thanks", text: `Thank you for the plan ${plan}.` }),
  },
};

const boss = new PgBoss({
  connectionString: databaseUrl,
  schedule: false,
  maintenanceIntervalSeconds: 1,
});
await boss.start();
await startWorker({
  databaseUrl,
  boss,
  queues: told(queues),
  expireInSeconds: 5,
  concurrency: Number(process.env["CONCURRENCY"] ?? 1),
});
tell({ kind: "ready" });

/** The same handlers; the parent is told of what they do. */
function told(queues: Queues): Queues {
  const entries = Object.entries(queues).map(([queue, handlers]) => [
    queue,
    Object.fromEntries(
      Object.entries(handlers).map(([event, handler]) => [
        event,
        async (payload: never, job: EventJob) => {
          tell({ kind: "starts", queue, event, payload });
          try {
            await handler(payload, job);
            tell({ kind: "done", queue, event, payload });
          } catch (error) {
            tell({ kind: "failed", queue, event, payload });
            throw error;
          }
        },
      ]),
    ),
  ]);
  return Object.fromEntries(entries);
}
