import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware, getSessionFromCtx, isAPIError } from "better-auth/api";

interface Member {
  organizationId: string;
  userId: string;
  role: string;
}

/** Emits the four standard events after the routes that cause them succeed. */
export function standardEvents() {
  // Deleting a user deletes their memberships too, and then nobody can tell which they were.
  const membershipsBefore = new WeakMap<object, { userId: string; memberships: Member[] }>();

  return {
    id: "standard-events",

    hooks: {
      before: [
        {
          matcher: ({ path }) => path === "/delete-user" || path === "/delete-user/callback",
          handler: createAuthMiddleware(async (ctx) => {
            const session = await getSessionFromCtx(ctx);
            if (!session) return;
            const userId = session.user.id;
            const memberships = ctx.context.hasPlugin("organization")
              ? await ctx.context.adapter.findMany<Member>({
                  model: "member",
                  where: [{ field: "userId", value: userId }],
                })
              : [];
            membershipsBefore.set(ctx.context, { userId, memberships });
          }),
        },
      ],

      after: [
        {
          matcher: ({ path }) => path !== undefined && routes.has(path),
          handler: createAuthMiddleware(async (ctx) => {
            const { returned } = ctx.context;
            if (isAPIError(returned) && !isRedirect(returned)) return;
            const bus = getBus(ctx.context);

            switch (ctx.path) {
              case "/organization/accept-invitation": {
                const { member } = returned as { member: Member };
                await bus.emit("organization.member.added", memberEvent(member, "added"));
                break;
              }
              case "/organization/remove-member": {
                const { member } = returned as { member: Member };
                await bus.emit("organization.member.removed", memberEvent(member, "removed"));
                break;
              }
              case "/organization/leave":
                await bus.emit(
                  "organization.member.removed",
                  memberEvent(returned as Member, "removed"),
                );
                break;
              case "/organization/update-member-role":
                await bus.emit(
                  "organization.member.updated",
                  memberEvent(returned as Member, "updated"),
                );
                break;
              case "/delete-user":
              case "/delete-user/callback": {
                // The first also succeeds when it only sends a link to the second, which redirects.
                const before = membershipsBefore.get(ctx.context);
                const { message } = returned as { message?: string };
                if (!before || (message !== "User deleted" && !isRedirect(returned))) break;
                const { userId, memberships } = before;
                for (const member of memberships) {
                  await bus.emit("organization.member.removed", memberEvent(member, "removed"));
                }
                await bus.emit("user.deleted", { userId, action: "deleted" });
                break;
              }
            }
          }),
        },
      ],
    },
  } satisfies BetterAuthPlugin;
}

const routes = new Set([
  "/organization/accept-invitation",
  "/organization/remove-member",
  "/organization/leave",
  "/organization/update-member-role",
  "/delete-user",
  "/delete-user/callback",
]);

/** Better Auth throws a redirect as it throws an error. */
function isRedirect(returned: unknown): boolean {
  return isAPIError(returned) && returned.status === "FOUND";
}

function memberEvent<Action>({ organizationId, userId, role }: Member, action: Action) {
  return { organizationId, userId, role, action };
}
