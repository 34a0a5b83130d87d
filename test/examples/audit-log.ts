// @kernia/events 1.0.0: copied from its test/examples/audit-log.ts
// Needs Better Auth 1.4 or newer, @better-auth/core in the same version as a dependency of yours, and
// `standard-events.ts` beside it.

import { getCurrentAuthContext } from "@better-auth/core/context";
import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin, GenericEndpointContext } from "better-auth";
import { getSessionFromCtx } from "better-auth/api";

/**
 * Writes a row for each standard event: the event with its payload, and the user who made the change,
 * with IP address, browser and route.
 *
 * These four are `null` where a handler does not run in a request: for changes by the server itself, and
 * in a worker. A worker loses no event, but knows no actor, IP address or route; a bus knows them, but
 * loses an event when the process dies between the change and the row.
 */
export function auditLog(): AuditLog {
  return {
    id: "audit-log",
    schema,
    init(auth) {
      if (!auth.options.plugins?.some(({ id }) => id === "standard-events")) {
        auth.logger.warn(
          "The audit log does not find the plugin standard-events, without which it stays empty. Add " +
            "it, unless something else emits the standard events.",
        );
      }
      const bus = getBus(auth);
      for (const event of auditedEvents) bus.on(event, createAuditLog(auth, event));
    },
  } satisfies BetterAuthPlugin;
}

/** The type of the plugin. */
export interface AuditLog {
  readonly id: "audit-log";
  readonly schema: typeof schema;
  init(auth: AuthContext): void;
}

/** The names of the events that get a row. */
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

/** A job of a queue: the same each time that it is retried. */
export interface Job {
  readonly id: string;
  /** The time of the change. */
  readonly createdAt: Date;
}

/**
 * The handler behind the plugin, for a bus and for a queue. A job gets one row, with the job's time,
 * however often it runs, even twice at the same time.
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
      // Not before the insert: two runs at the same time would both find no row, and both insert one.
      if (!(await adapter.findOne({ model: "auditLog", where }))) throw error;
    }
  };
}

/**
 * The user who is signed in to the request in which the handler runs; where an admin impersonates
 * somebody, the admin. The id is not a reference to the user's row, because it has to outlive it.
 */
async function originOfChange() {
  const request = await getCurrentAuthContext().catch(() => undefined);
  const headers = request?.request?.headers ?? request?.headers;
  if (!request || !headers) return {};
  // Not every route has read the session; one that signs somebody in has just created it.
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
 * The header as the proxies send it, because each version of Better Auth reads it in another way. If it
 * has several addresses, only those that your own proxies added can be relied on.
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

/** A session of Better Auth's admin plugin. */
interface ImpersonatedSession {
  readonly impersonatedBy?: string | null;
}
