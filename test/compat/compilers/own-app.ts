import { getBus } from "@kernia/events";
import { betterAuth } from "better-auth";
import { createAuthEndpoint } from "better-auth/api";
import { organization } from "better-auth/plugins";
import pg from "pg";
import { pino } from "pino";
import Stripe from "stripe";
import { auditedEvents, auditLog, createAuditLog } from "../examples/audit-log.js";
import { emitAfterCommit, inTransaction } from "../examples/recipes/after-commit.js";
import { privacy } from "../examples/recipes/in-background.js";
import { forPino } from "../examples/recipes/loggers.js";
import { once } from "../examples/recipes/once.js";
import { createSeatSync, seatSync } from "../examples/seat-sync.js";
import { standardEvents } from "../examples/standard-events.js";

// A stranger's app, which `copies.test.ts` compiles beside copies of the examples. Its auth has the type
// that TypeScript infers for it: without an annotation, and without a cast.

const pool = new pg.Pool();
const stripe = new Stripe("sk_test");
const seats = { stripe, plans: [{ name: "team", seatPriceId: "price_1" }] };

export const auth = betterAuth({
  database: pool,
  emailAndPassword: { enabled: true },
  logger: forPino(pino()),
  plugins: [
    organization(),
    standardEvents(),
    seatSync({ ...seats, organization: { enabled: true } }),
    auditLog(),
    privacy,
    {
      id: "shop",
      endpoints: {
        buy: createAuthEndpoint("/buy", { method: "POST" }, async ({ context }) => {
          await emitAfterCommit(context, "shop.sold", { price: 1 });
          await createAuditLog(context, "user.deleted")({ userId: "u_1", action: "deleted" });
        }),
      },
    },
  ],
});

export async function useIt(): Promise<void> {
  const context = await auth.$context;
  const bus = getBus(context);
  const syncSeats = createSeatSync(context, seats);
  bus.on("organization.member.added", syncSeats);
  for (const event of auditedEvents) bus.on(event, createAuditLog(context, event));
  once(bus, "privacy.export.requested", ({ userId }) => userId);
  await emitAfterCommit(context, "user.deleted", { userId: "u_1", action: "deleted" });
  await inTransaction(pool, bus, (_, emitLater) => emitLater("shop.sold", { price: 1 }));

  const job = { id: "job_1", createdAt: new Date() };
  const deleted = { userId: "u_1", action: "deleted" } as const;
  await createAuditLog(context, "user.deleted")(deleted, job);

  // The plugins' routes and fields are still known, beside those whose types are annotated.
  await auth.api.exportMe({ headers: new Headers() });
  const { id } = await auth.api.createOrganization({
    body: { name: "Lovelace", slug: "lovelace" },
  });
  // @ts-expect-error
  await auth.api.missing();
  id.trim();
}
