import { betterAuth, type BetterAuthOptions } from "better-auth";
import { toNodeHandler } from "better-auth/node";
import pg from "pg";
import { serve } from "../../fixtures/loopback";

/** Better Auth with its tables, on the database whose URL is this program's argument. */
export async function startAuth(options: BetterAuthOptions) {
  const pool = new pg.Pool({ connectionString: process.argv[2]! });
  const { url, close } = await serve((request, response) => void handle(request, response));
  const auth = betterAuth({
    baseURL: url,
    secret: "a secret for the tests on loopback, and for nothing else",
    database: pool,
    emailAndPassword: { enabled: true },
    user: { deleteUser: { enabled: true } },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    ...options,
  });
  const handle = toNodeHandler(auth);
  // Where it is from 1.5 on; before, it was exported beside other things.
  const { getMigrations } = await import("better-auth/db/migration").catch(
    () => import("better-auth/db") as never,
  );
  await (await getMigrations(auth.options)).runMigrations();
  return { auth, pool, url, stop: () => Promise.all([close(), pool.end()]) };
}
