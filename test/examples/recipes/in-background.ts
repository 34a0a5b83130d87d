import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { createAuthEndpoint, sessionMiddleware } from "better-auth/api";

const options = { method: "POST" as const, use: [sessionMiddleware] };
export const privacy = {
  id: "privacy",
  endpoints: {
    eraseMe: createAuthEndpoint("/erase-me", options, async (ctx) => {
      const { context } = ctx;
      const userId = context.session.user.id;
      await context.internalAdapter.deleteUser(userId);
      const emitted = getBus(context).emit("user.deleted", { userId, action: "deleted" });
      context.runInBackground(emitted);
    }),
  },
} satisfies BetterAuthPlugin;
