import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware } from "better-auth/api";
import { startAuthServer } from "./harness/auth-server";
import { parentOf } from "./harness/child";
import { tables } from "./harness/outbox";

/** What the auth server tells the process that started it. */
export interface AuthServerMessage {
  readonly kind: "ready";
  readonly url: string;
}

const { tell } = parentOf<AuthServerMessage>();
const { url } = await startAuthServer({
  databaseUrl: process.env["DATABASE_URL"]!,
  port: Number(process.env["PORT"] ?? 0),
  plugins: process.env["DIES"] ? [...tables, diesBeforeItPublishes()] : tables,
});
tell({ kind: "ready", url });

/** Dies where a plugin would publish: once the route has made its change. */
function diesBeforeItPublishes(): BetterAuthPlugin {
  return {
    id: "dies-before-it-publishes",
    hooks: {
      after: [
        {
          matcher: ({ path }) => path === "/organization/accept-invitation",
          handler: createAuthMiddleware(async () => process.kill(process.pid, "SIGKILL")),
        },
      ],
    },
  };
}
