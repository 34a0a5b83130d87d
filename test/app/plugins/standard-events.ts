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
  // Deleting a user deletes its memberships too; afterwards nobody could tell which they were.
  const membershipsBefore = new WeakMap<object, Member[]>();

  return {
    id: "standard-events",

    init(auth) {
      // Each request gets a copy of this context, so the bus has to be there before the first.
      getBus(auth);
    },

    hooks: {
      before: [
        {
          matcher: ({ path }) => path === "/delete-user",
          handler: createAuthMiddleware(async (ctx) => {
            const session = await getSessionFromCtx(ctx);
            if (!session || !ctx.context.hasPlugin("organization")) return;
            const memberships = await ctx.context.adapter.findMany<Member>({
              model: "member",
              where: [{ field: "userId", value: session.user.id }],
            });
            membershipsBefore.set(ctx.context, memberships);
          }),
        },
      ],

      after: [
        {
          matcher: ({ path }) => path !== undefined && routes.has(path),
          handler: createAuthMiddleware(async (ctx) => {
            const { returned, session } = ctx.context;
            if (isAPIError(returned)) return;
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
              case "/delete-user": {
                // The route also succeeds when it only sends the user a link to confirm with.
                const { message } = returned as { message: string };
                if (message !== "User deleted" || !session) break;
                for (const member of membershipsBefore.get(ctx.context) ?? []) {
                  await bus.emit("organization.member.removed", memberEvent(member, "removed"));
                }
                await bus.emit("user.deleted", { userId: session.user.id, action: "deleted" });
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
]);

function memberEvent<Action>({ organizationId, userId, role }: Member, action: Action) {
  return { organizationId, userId, role, action };
}
