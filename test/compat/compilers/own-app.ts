import { getBus } from "@kernia/events";
import { betterAuth } from "better-auth";
import { organization } from "better-auth/plugins";
import pg from "pg";
import { pino } from "pino";
import Stripe from "stripe";
import { auditLog } from "../../examples/audit-log.js";
import { privacy } from "../../examples/recipes/in-background.js";
import { forPino } from "../../examples/recipes/loggers.js";
import { seatSync } from "../../examples/seat-sync.js";
import { standardEvents } from "../../examples/standard-events.js";

// The app of a user, which is compiled beside copies of the examples. Its auth has the type that TypeScript
// infers for it: without an annotation, and without a cast.

const stripe = new Stripe("sk_test");

export const auth = betterAuth({
  database: new pg.Pool(),
  emailAndPassword: { enabled: true },
  logger: forPino(pino()),
  plugins: [
    organization(),
    standardEvents(),
    seatSync({ stripe, plans: [{ name: "team", seatPriceId: "price_1" }] }),
    auditLog(),
    privacy,
  ],
});

export async function useIt(): Promise<void> {
  const bus = getBus(await auth.$context);
  bus.on("privacy.export.requested", ({ userId }) => userId.trim());

  // The plugins' routes are still known, beside those whose types are annotated.
  await auth.api.exportMe({ headers: new Headers() });
  const body = { name: "Lovelace", slug: "lovelace" };
  const { id } = await auth.api.createOrganization({ body });
  id.trim();
  // @ts-expect-error
  await auth.api.missing();
}
