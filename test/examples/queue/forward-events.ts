import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import type PgBoss from "pg-boss";
import { publish } from "./queue";

/** Publishes the member events and the deletion of users to pg-boss: one line per event. */
export function forwardEvents(boss: PgBoss) {
  return {
    id: "forward-events",

    init(auth) {
      const bus = getBus(auth);
      bus.on("organization.member.added", (event) =>
        publish(boss, "organization.member.added", event),
      );
      bus.on("organization.member.removed", (event) =>
        publish(boss, "organization.member.removed", event),
      );
      bus.on("organization.member.updated", (event) =>
        publish(boss, "organization.member.updated", event),
      );
      bus.on("user.deleted", (event) => publish(boss, "user.deleted", event));
    },
  } satisfies BetterAuthPlugin;
}
