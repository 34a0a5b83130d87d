import { betterAuth, type BetterAuthOptions } from "better-auth";
import pg from "pg";

// Runs bundled, in a folder in which the version to be tested is installed.

export const password = "correct horse battery staple";
const url = "http://127.0.0.1";

export interface TestUser {
  readonly email: string;
  readonly id: string;
  readonly cookie: string;
}

/** Better Auth with its tables, on the database whose URL is this program's argument. */
export async function startAuth(options: BetterAuthOptions) {
  const pool = new pg.Pool({ connectionString: process.argv[2]! });
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
  // Where it is from 1.5 on; before, it was exported beside other things.
  const { getMigrations } = await import("better-auth/db/migration").catch(
    () => import("better-auth/db") as never,
  );
  await (await getMigrations(auth.options)).runMigrations();

  async function request(path: string, body: object, cookie = ""): Promise<Response> {
    const headers = { "content-type": "application/json", origin: url, cookie };
    const init = { method: "POST", body: JSON.stringify(body) };
    const response = await auth.handler(
      new Request(`${url}/api/auth${path}`, {
        ...init,
        headers: { ...headers, "x-forwarded-for": "192.0.2.7" },
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
      const email = `${name}@example.com`;
      const response = await request("/sign-up/email", { name, email, password });
      const cookies = response.headers.getSetCookie().map((cookie) => cookie.split(";")[0]);
      const { user } = (await response.json()) as { user: { id: string } };
      return { email, id: user.id, cookie: cookies.join("; ") };
    },
  };
}
