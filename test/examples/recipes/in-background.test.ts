import { getBus } from "@kernia/events";
import { betterAuth, type BetterAuthOptions } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { expect, test } from "vitest";
import { password } from "../../fixtures/users";
import { privacy } from "./in-background";

/** Requests an export while a handler waits to be released. */
async function requestExport(advanced: BetterAuthOptions["advanced"] = {}) {
  const seen: string[] = [];
  let release = () => {};
  let tellDone = () => {};
  const done = new Promise<void>((resolve) => (tellDone = resolve));
  const auth = betterAuth({
    baseURL: "http://localhost",
    secret: "a secret for a test, and for nothing else",
    database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
    emailAndPassword: { enabled: true },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    advanced,
    plugins: [
      {
        id: "slow",
        init(auth) {
          getBus(auth).on("privacy.export.requested", async ({ userId }) => {
            await new Promise<void>((resolve) => (release = resolve));
            seen.push(userId);
            tellDone();
          });
        },
      },
      privacy,
    ],
  });
  const ada = { name: "Ada", email: "ada@example.com", password };
  const { headers, response } = await auth.api.signUpEmail({ body: ada, returnHeaders: true });
  const cookie = headers.getSetCookie().join("; ");

  const answer = await auth.handler(
    new Request("http://localhost/api/auth/export-me", { method: "POST", headers: { cookie } }),
  );

  return { answer, userId: response.user.id, seen, release: () => release(), done };
}

test("a route answers before the handlers are done, and hands Better Auth what is left", async () => {
  const tasks: Promise<unknown>[] = [];

  const { answer, userId, seen, release } = await requestExport({
    backgroundTasks: { handler: (task) => tasks.push(task) },
  });

  expect(answer.status).toBe(200);
  expect(seen).toEqual([]);
  expect(tasks).toHaveLength(1);

  release();
  await Promise.all(tasks);
  expect(seen).toEqual([userId]);
});

test("where no background tasks are set up, the handlers go on all the same", async () => {
  const { answer, userId, seen, release, done } = await requestExport();

  expect(answer.status).toBe(200);
  expect(seen).toEqual([]);

  release();
  await done;
  expect(seen).toEqual([userId]);
});
