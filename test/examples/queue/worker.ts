import type { EventHandler } from "@kernia/events";
import type { AuthContext } from "better-auth";
import { createAuth } from "../../app/harness/auth-server";
import { teamPlan } from "../../app/harness/plans";
import { auditedEvents, auditLog, createAuditLog } from "../audit-log";
import { createSeatSync, seatSync } from "../seat-sync";
import { startBoss, subscribe, work } from "./queue";
import { stripeClient } from "../../app/harness/stripe-server";

/** What the worker tells the process that forked it. */
export interface WorkerMessage {
  readonly kind: "ready" | "starts" | "done" | "failed";
  readonly queue?: string;
  readonly payload?: unknown;
}

const databaseUrl = process.env["DATABASE_URL"]!;
const seatSyncOptions = {
  stripe: stripeClient(Number(process.env["STRIPE_PORT"])),
  plans: [teamPlan],
};

const { auth } = createAuth({ databaseUrl, plugins: [seatSync(seatSyncOptions), auditLog()] });
// Better Auth's own type of it does not allow for `exactOptionalPropertyTypes`.
const context = (await auth.$context) as unknown as AuthContext;
const boss = await startBoss(databaseUrl, () => {}, { maintains: true });

const syncSeats = told("seat-sync", createSeatSync(context, seatSyncOptions));
await subscribe(boss, "seat-sync", ["organization.member.added", "organization.member.removed"]);
await work(boss, "seat-sync", syncSeats);

for (const event of auditedEvents) {
  const queue = `audit-log.${event}`;
  await subscribe(boss, queue, [event]);
  await work(boss, queue, told(queue, createAuditLog(context, event)));
}
tell({ kind: "ready" });

/** The same handler; the demo is told of what it does. */
function told<Payload>(queue: string, handler: EventHandler<Payload>): EventHandler<Payload> {
  return async (payload) => {
    tell({ kind: "starts", queue, payload });
    try {
      await handler(payload);
      tell({ kind: "done", queue, payload });
    } catch (error) {
      tell({ kind: "failed", queue, payload });
      throw error;
    }
  };
}

function tell(message: WorkerMessage): void {
  process.send?.(message);
}

// The parent may die without a word.
process.on("disconnect", () => process.exit());
