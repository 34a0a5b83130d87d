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

// The app of a user, compiled beside copies of the examples, without an annotation or a cast.
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

  // The routes of other plugins are still known.
  await auth.api.exportMe({ headers: new Headers() });
  await auth.api.createOrganization({ body: { name: "Lovelace", slug: "lovelace" } });
  // @ts-expect-error
  await auth.api.missing();
}
