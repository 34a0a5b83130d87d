import { getBus } from "@kernia/events";
import { betterAuth } from "better-auth";
import { organization } from "better-auth/plugins";
import pg from "pg";
import Stripe from "stripe";
import { auditLog } from "../../examples/audit-log.js";
import { privacy } from "../../examples/recipes/in-background.js";
import { seatSync } from "../../examples/seat-sync.js";
import { standardEvents } from "../../examples/standard-events.js";

// The app of a user, compiled beside copies of the examples, without an annotation or a cast.
const seats = { stripe: new Stripe("sk_test"), plans: [{ name: "team", seatPriceId: "price_1" }] };
export const auth = betterAuth({
  database: new pg.Pool(),
  plugins: [organization(), standardEvents(), seatSync(seats), auditLog(), privacy],
});

export async function useIt(): Promise<void> {
  getBus(await auth.$context).on("privacy.export.requested", ({ userId }) => userId.trim());
  // The routes of other plugins are still known.
  await auth.api.exportMe({ headers: new Headers() });
  await auth.api.createOrganization({ body: { name: "Lovelace", slug: "lovelace" } });
  // @ts-expect-error
  await auth.api.missing();
}
