import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";

/** Shows what becomes of a handler that fails: a line in the log, and nothing else. */
export function alwaysFails() {
  return {
    id: "always-fails",

    init(auth) {
      getBus(auth).on("organization.member.added", function failOnPurpose() {
        throw new Error("the mailing list is full");
      });
    },
  } satisfies BetterAuthPlugin;
}
