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
 * Its route answers without waiting for the handlers. The part of the handlers before their first
 * `await` still runs in the request.
 *
 * A platform that ends a function once it has answered cuts the rest off, and nothing is logged, unless
 * there is an `advanced.backgroundTasks.handler` for `runInBackground`. On Cloudflare Workers it is the
 * `waitUntil` below, or a request's, `(task) => context.waitUntil(task)`, if each has its own `auth`.
 *
 * @example
 * ```ts
 * import { waitUntil } from "cloudflare:workers";
 * const advanced = { backgroundTasks: { handler: waitUntil } };
 * export const auth = betterAuth({ advanced, plugins: [privacy] });
 * ```
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
