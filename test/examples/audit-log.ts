import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";

/** Writes a row for each standard event. */
export function auditLog() {
  return {
    id: "audit-log",

    schema: {
      auditLog: {
        fields: {
          event: { type: "string", required: true },
          payload: { type: "string", required: true },
          createdAt: { type: "date", required: true },
        },
      },
    },

    init(auth) {
      const bus = getBus(auth);
      for (const event of auditedEvents) bus.on(event, createAuditLog(auth, event));
    },
  } satisfies BetterAuthPlugin;
}

export const auditedEvents = [
  "organization.member.added",
  "organization.member.removed",
  "organization.member.updated",
  "user.deleted",
] as const;

/** The handler behind the plugin; it does the same wherever it runs. */
export function createAuditLog<Name extends keyof Events>(
  { adapter }: Pick<AuthContext, "adapter">,
  event: Name,
) {
  return async function writeAuditRow(payload: EventPayload<Name>): Promise<void> {
    await adapter.create({
      model: "auditLog",
      data: { event, payload: JSON.stringify(payload), createdAt: new Date() },
    });
  };
}
