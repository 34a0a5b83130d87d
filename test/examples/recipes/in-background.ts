// @kernia/events 1.0.0: copied from its test/examples/recipes/in-background.ts
// Needs Better Auth 1.4 or newer.

import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { createAuthEndpoint, sessionMiddleware } from "better-auth/api";

declare global {
  interface KerniaEvents {
    "privacy.export.requested": { readonly userId: string };
  }
}

const options = { method: "POST" as const, use: [sessionMiddleware] };

/**
 * Its route answers without waiting for the handlers: `runInBackground` passes the emit on to
 * `advanced.backgroundTasks.handler`. The part of the handlers before their first `await` still runs in
 * the request.
 */
export const privacy = {
  id: "privacy",
  endpoints: {
    exportMe: createAuthEndpoint("/export-me", options, async ({ context }) => {
      const { id: userId } = context.session.user;
      const emitted = getBus(context).emit("privacy.export.requested", { userId });
      context.runInBackground(emitted);
    }),
  },
} satisfies BetterAuthPlugin;

/**
 * Better Auth's option `advanced` for a platform that ends a function once it has answered. Without it,
 * handlers are cut off there, and nothing is logged.
 *
 * @param waitUntil - keeps the function alive until a promise settles. On Cloudflare Workers, it is that of
 * the module below, or of a request's context if each request has an `auth` of its own:
 * `(task) => context.waitUntil(task)`.
 *
 * @example
 * ```ts
 * import { waitUntil } from "cloudflare:workers";
 *
 * export const auth = betterAuth({ advanced: keepAlive(waitUntil), plugins: [privacy] });
 * ```
 */
export function keepAlive(waitUntil: WaitUntil): { backgroundTasks: { handler: WaitUntil } } {
  return { backgroundTasks: { handler: waitUntil } };
}

type WaitUntil = (task: Promise<unknown>) => void;
