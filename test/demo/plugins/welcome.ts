import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";

/**
 * Thanks for each subscription that is started. It knows the event, whose declaration the compiler
 * finds in this project, and not the plugin that emits it.
 */
export function welcome(thanks: string[]) {
  return {
    id: "welcome",

    init(auth) {
      getBus(auth).on("billing.subscription.started", function sendThanks({ plan, seats }) {
        thanks.push(`Thank you for the plan ${plan} with ${seats} seat${seats === 1 ? "" : "s"}.`);
      });
    },
  } satisfies BetterAuthPlugin;
}
