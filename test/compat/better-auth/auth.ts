import { betterAuth, type BetterAuthOptions } from "better-auth";
import pg from "pg";

// Runs bundled, in a folder in which the version to be tested is installed.

export const password = "correct horse battery staple";
const url = "http://127.0.0.1";

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

  /** Returns the answer, with the cookies that it sets. */
  async function post(path: string, body: object, { cookie } = { cookie: "" }): Promise<Answer> {
    const headers = { "content-type": "application/json", origin: url, cookie };
    const request = new Request(`${url}/api/auth${path}`, {
      method: "POST",
      headers: { ...headers, "x-forwarded-for": "192.0.2.7" },
      body: JSON.stringify(body),
    });
    const response = await auth.handler(request);
    const text = await response.text();
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text}`);
    const cookies = response.headers.getSetCookie().map((cookie) => cookie.split(";")[0]);
    return { ...JSON.parse(text || "{}"), cookie: cookies.join("; ") };
  }

  async function signUp(name: string) {
    const email = `${name}@example.com`;
    const { user, cookie } = await post("/sign-up/email", { name, email, password });
    return { email, id: user.id, cookie };
  }
  return { auth, pool, post, signUp };
}

interface Answer {
  readonly id: string;
  readonly user: { readonly id: string };
  readonly cookie: string;
}
