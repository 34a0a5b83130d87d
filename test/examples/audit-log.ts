import { getCurrentAuthContext } from "@better-auth/core/context";
import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin, GenericEndpointContext } from "better-auth";
import { getIP, getSessionFromCtx } from "better-auth/api";

/** Writes a row for each standard event: what happened, and who did it, from where, by which route. */
export function auditLog() {
  return {
    id: "audit-log",

    schema: {
      auditLog: {
        fields: {
          event: { type: "string", required: true },
          payload: { type: "string", required: true },
          actorId: { type: "string", required: false },
          ipAddress: { type: "string", required: false },
          userAgent: { type: "string", required: false },
          route: { type: "string", required: false },
          createdAt: { type: "date", required: true },
          jobId: { type: "string", required: false, unique: true },
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
  return async function writeAuditRow(
    payload: EventPayload<Name>,
    job?: { id: string; createdAt: Date },
  ): Promise<void> {
    const createdAt = job?.createdAt ?? new Date();
    const origin = await originOfChange();
    const row = { event, payload: JSON.stringify(payload), ...origin, createdAt };
    try {
      await adapter.create({
        model: "auditLog",
        data: job ? { ...row, jobId: job.id } : row,
      });
    } catch (error) {
      const where = [{ field: "jobId", value: job?.id ?? null }];
      if (!job || !(await adapter.findOne({ model: "auditLog", where }))) throw error;
    }
  };
}

/**
 * Says who is signed in to the request in which the handler runs, or, where an admin impersonates
 * somebody, the admin. The id is no reference to the user's row: it has to outlive the account. There
 * is nothing to say where there is no request: of a server-side call, and in a worker.
 */
async function originOfChange() {
  const request = await getCurrentAuthContext().catch(() => undefined);
  const headers = request?.request?.headers ?? request?.headers;
  if (!request || !headers) return {};
  // Not every route has fetched the session; one that signs somebody in has just made it.
  const { session, user } =
    (await getSessionFromCtx(request as GenericEndpointContext)) ??
    request.context.newSession ??
    noSession;
  return {
    actorId: (session as ImpersonatedSession | undefined)?.impersonatedBy ?? user?.id,
    ipAddress: getIP(headers, request.context.options),
    userAgent: headers.get("user-agent"),
    route: request.path,
  };
}

const noSession = { session: undefined, user: undefined };

/** As Better Auth's admin plugin keeps it. */
interface ImpersonatedSession {
  impersonatedBy?: string | null;
}
