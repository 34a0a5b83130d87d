import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { betterAuth, type BetterAuthOptions, type BetterAuthPlugin } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { organization } from "better-auth/plugins";
import { createPool } from "./postgres";

export interface AuthAppOptions {
  databaseUrl: string;
  baseURL?: string;
  logger?: BetterAuthOptions["logger"];
  /** On top of being enabled. */
  deleteUser?: NonNullable<BetterAuthOptions["user"]>["deleteUser"];
  /** The plugins that meet at the bus, in the order in which they subscribe. */
  plugins: BetterAuthPlugin[];
}

/** Better Auth as the demo, the worker and the tests run it, without a server around it. */
export function createAuth({ databaseUrl, baseURL, logger, deleteUser, plugins }: AuthAppOptions) {
  const pool = createPool(databaseUrl);
  const auth = betterAuth({
    baseURL: baseURL ?? "http://127.0.0.1",
    secret: "a secret for the demo on loopback, and for nothing else",
    database: pool,
    emailAndPassword: { enabled: true },
    user: { deleteUser: { enabled: true, ...deleteUser } },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    ...(logger && { logger }),
    plugins: [organization({ membershipLimit: 2_000, invitationLimit: 2_000 }), ...plugins],
  });
  return { auth, pool, close: () => pool.end() };
}

export interface AuthServerOptions extends AuthAppOptions {
  /** A free one by default. */
  port?: number;
  /** Runs `serve` for each request. */
  around?: (request: IncomingMessage, serve: () => unknown) => unknown;
}

/** A real HTTP server around it, on a free loopback port. */
export async function startAuthServer({
  port = 0,
  around = (_, serve) => serve(),
  ...options
}: AuthServerOptions) {
  let handle = (_: IncomingMessage, response: ServerResponse): unknown => response.end();
  const server = createServer((request, response) =>
    around(request, () => void handle(request, response)),
  );
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const { auth, pool, close } = createAuth({ ...options, baseURL: url });
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();
  handle = toNodeHandler(auth);

  return {
    url,
    auth,
    pool,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
      await close();
    },
  };
}
