import { randomUUID } from "node:crypto";
import { betterAuth, type BetterAuthOptions } from "better-auth";
import pg from "pg";

// Runs bundled, in a folder in which the version to be tested is installed.

export const password = "correct horse battery staple";
const url = "http://127.0.0.1";

export interface TestUser {
  readonly email: string;
  readonly userId: string;
  readonly cookie: string;
}

/** Better Auth on the database at `DATABASE_URL`, with its tables. */
export async function startAuth(options: BetterAuthOptions) {
  const pool = new pg.Pool({ connectionString: process.env["DATABASE_URL"]! });
  const auth = betterAuth({
    baseURL: url,
    secret: "a secret for the tests on loopback, and for nothing else",
    database: pool,
    emailAndPassword: { enabled: true },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    ...options,
  });
  // Where it is from 1.5 on; before, it was exported beside other things.
  const { getMigrations } = await import("better-auth/db/migration").catch(
    () => import("better-auth/db") as never,
  );
  await (await getMigrations(auth.options)).runMigrations();

  async function request(path: string, body: object, cookie?: string): Promise<Response> {
    const headers = new Headers({ "content-type": "application/json", origin: url });
    headers.set("x-forwarded-for", "192.0.2.7");
    if (cookie) headers.set("cookie", cookie);
    const response = await auth.handler(
      new Request(`${url}/api/auth${path}`, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
      }),
    );
    if (response.ok) return response;
    throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
  }

  return {
    auth,
    pool,

    async post(path: string, body: object, { cookie }: TestUser): Promise<{ id: string }> {
      const text = await (await request(path, body, cookie)).text();
      return JSON.parse(text || "{}");
    },

    async signUp(name: string): Promise<TestUser> {
      const email = `${name}-${randomUUID()}@example.com`;
      const response = await request("/sign-up/email", { name, email, password });
      const cookie = response.headers.getSetCookie().map((cookie) => cookie.split(";")[0]);
      const { user } = (await response.json()) as { user: { id: string } };
      return { email, userId: user.id, cookie: cookie.join("; ") };
    },
  };
}
