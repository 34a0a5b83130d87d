// Needs Better Auth 1.4 or newer, and @better-auth/core in the same version as a dependency of yours.

import { getCurrentAuthContext } from "@better-auth/core/context";
import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin, GenericEndpointContext } from "better-auth";
import { getSessionFromCtx } from "better-auth/api";

/** Writes a row for each standard event: what happened, and who did it, from where, by which route. */
export function auditLog(): AuditLog {
  return {
    id: "audit-log",
    schema,
    init(auth) {
      const bus = getBus(auth);
      for (const event of auditedEvents) bus.on(event, createAuditLog(auth, event));
    },
  } satisfies BetterAuthPlugin;
}

export interface AuditLog {
  readonly id: "audit-log";
  readonly schema: typeof schema;
  init(auth: AuthContext): void;
}

export const auditedEvents = [
  "organization.member.added",
  "organization.member.removed",
  "organization.member.updated",
  "user.deleted",
] as const;

const schema = {
  auditLog: {
    fields: {
      event: { type: "string", required: true },
      payload: { type: "string", required: true },
      actorId: { type: "string", required: false },
      ipAddress: { type: "string", required: false },
      userAgent: { type: "string", required: false },
      route: { type: "string", required: false },
      jobId: { type: "string", required: false, unique: true },
      createdAt: { type: "date", required: true },
    },
  },
} as const;

/** What a queue knows of an event: the same each time that the event is tried again. */
export interface Job {
  readonly id: string;
  readonly createdAt: Date;
}

/**
 * The handler behind the plugin, for a bus and for a queue. A job has one row, with the time of the job,
 * however often it is run, also where it runs twice at the same moment.
 */
export function createAuditLog<Name extends keyof Events>(
  { adapter }: { adapter: Pick<AuthContext["adapter"], "create" | "findOne"> },
  event: Name,
): (payload: EventPayload<Name>, job?: Job) => Promise<void> {
  return async function writeAuditRow(payload, job) {
    const createdAt = job?.createdAt ?? new Date();
    const data = {
      event,
      payload: JSON.stringify(payload),
      ...(await originOfChange()),
      jobId: job?.id,
      createdAt,
    };
    try {
      await adapter.create({ model: "auditLog", data });
    } catch (error) {
      if (!job) throw error;
      const where = [{ field: "jobId", value: job.id }];
      // Only after it failed: who looks first and then writes may do so twice.
      if (!(await adapter.findOne({ model: "auditLog", where }))) throw error;
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
    ipAddress: forwardedFor(headers, request.context.options.advanced?.ipAddress),
    userAgent: headers.get("user-agent"),
    route: request.path,
  };
}

/**
 * What the proxies say, as they say it, for Better Auth has another function for it in each version. Of
 * several addresses, only those that your own proxies added can be relied on.
 */
function forwardedFor(headers: Headers, options: IpAddressOptions = {}): string | undefined {
  if (options.disableIpTracking) return undefined;
  const names = options.ipAddressHeaders ?? ["x-forwarded-for"];
  return names.map((name) => headers.get(name)).find((value) => value !== null) ?? undefined;
}

/** Better Auth's `advanced.ipAddress`. */
interface IpAddressOptions {
  readonly disableIpTracking?: boolean | undefined;
  readonly ipAddressHeaders?: readonly string[] | undefined;
}

const noSession = { session: undefined, user: undefined };

/** As Better Auth's admin plugin keeps it. */
interface ImpersonatedSession {
  readonly impersonatedBy?: string | null;
}
