// @kernia/events 1.0.0: copied from its test/examples/audit-log.ts
// Needs Better Auth 1.4 or newer, @better-auth/core in the same version as a dependency of yours, and
// `standard-events.ts` beside it.

import { getAsyncLocalStorage } from "@better-auth/core/async_hooks";
import { getCurrentAuthContext } from "@better-auth/core/context";
import { getBus, type EventPayload, type Events } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin, GenericEndpointContext } from "better-auth";
import * as api from "better-auth/api";

/**
 * Writes a row for each standard event: the event with its payload and organization, and the user who
 * made the change, with IP address, browser and route.
 *
 * These four are `null` where a handler does not run in a request: for changes by the server itself, and
 * in a worker. A worker loses no event, but knows no actor, IP address or route; a bus knows them, but
 * loses an event when the process dies between the change and the row.
 *
 * The IP address is the one that Better Auth sees, within its options `advanced.ipAddress`. It is from a
 * header, so it is worth what your proxy makes of it: without one, a client can write what it wants.
 */
export function auditLog(): Pick<BetterAuthPlugin, "id" | "init"> & { schema: typeof schema } {
  return {
    id: "audit-log",
    schema,
    async init(auth) {
      const bus = getBus(auth);
      for (const event of auditedEvents) bus.on(event, createAuditLog(auth, event));
      if (!auth.options.plugins?.some(({ id }) => id === "standard-events")) {
        auth.logger.warn(
          "The audit log does not find the plugin standard-events, without which it stays empty. Add " +
            "it, unless something else emits the standard events.",
        );
      }
      if (!(await requestsStayApart)) {
        auth.logger.warn(
          "The audit log writes no user, IP address, browser or route: Better Auth is bundled for a " +
            'browser, and would mix up requests. Use esbuild\'s platform "node", or condition "workerd".',
        );
      }
    },
  };
}

/** The names of the events that get a row, unless you subscribe `createAuditLog` to more. */
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
      organizationId: { type: "string", required: false, index: true },
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
 *
 * @example
 * A row for an event of your own, in the `init` of a plugin:
 * ```ts
 * getBus(auth).on("billing.invoice.paid", createAuditLog(auth, "billing.invoice.paid"));
 * ```
 */
export function createAuditLog<Name extends keyof Events>(
  { adapter }: { adapter: Pick<AuthContext["adapter"], "create" | "findOne"> },
  event: Name,
): (payload: EventPayload<Name>, job?: Job) => Promise<void> {
  return async function writeAuditRow(payload, job) {
    const { organizationId } = { ...(payload as { organizationId?: string }) };
    const data = {
      event,
      payload: JSON.stringify(payload ?? null),
      organizationId,
      jobId: job?.id,
      createdAt: job?.createdAt ?? new Date(),
      ...(await originOfChange()),
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
  if (!request || !headers || !(await requestsStayApart)) return {};
  // Of a copy, because to read the session may also change it, and set cookies.
  const copy = { ...request, context: { ...request.context }, responseHeaders: new Headers() };
  const read = api.getSessionFromCtx(copy as GenericEndpointContext, { disableRefresh: true });
  // Not every route has read the session; one that signs somebody in has just created it.
  const signedIn = (await read) ?? request.context.newSession;
  return {
    actorId: signedIn?.session["impersonatedBy"] ?? signedIn?.user.id,
    ipAddress: getIp?.(headers, request.context.options),
    userAgent: headers.get("user-agent"),
    // What a function that only the server can call has instead of a path.
    route: request.path === "virtual:" ? undefined : request.path,
  };
}

/**
 * Whether a request keeps its context when it awaits beside another. In a bundle for a browser, which
 * esbuild makes by default, Better Auth has a stand-in for `AsyncLocalStorage` that mixes them up.
 */
const requestsStayApart = getAsyncLocalStorage().then(
  async (AsyncLocalStorage) => {
    const storage = new AsyncLocalStorage();
    const first = storage.run(1, () => Promise.resolve().then(() => storage.getStore()));
    void storage.run(2, () => first);
    return (await first) === 1;
  },
  () => false,
);

// `getIp` up to Better Auth 1.6, `getIP` since 1.7.
const { getIP, getIp = getIP } = api as { [Name in "getIP" | "getIp"]?: GetIp };
type GetIp = (headers: Headers, options: AuthContext["options"]) => string | null;
