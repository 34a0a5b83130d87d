import { getBus } from "@kernia/events";
import { betterAuth, type BetterAuthOptions } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { expect, test } from "vitest";
import { fastPassword } from "../../fixtures/auth-server";
import { privacy } from "./in-background";
import { trackEmits } from "./under-way";

/** Requests an export while a handler waits to be released. */
async function requestExport(advanced: BetterAuthOptions["advanced"] = {}) {
  const exported: string[] = [];
  let release = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  const auth = betterAuth({
    baseURL: "http://localhost",
    secret: "a secret for a test, and for nothing else",
    database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
    emailAndPassword: { enabled: true, password: fastPassword },
    telemetry: { enabled: false },
    advanced,
    plugins: [privacy],
  });
  const bus = getBus(await auth.$context);
  const settled = trackEmits(bus);
  bus.on("privacy.export.requested", async ({ userId }) => {
    await released;
    exported.push(userId);
  });
  const body = { name: "Ada", email: "ada@example.com", password: "correct horse" };
  const { headers, response } = await auth.api.signUpEmail({ body, returnHeaders: true });
  const request = { method: "POST", headers: { cookie: headers.getSetCookie().join("; ") } };
  const answer = await auth.handler(new Request("http://localhost/api/auth/export-me", request));

  return { answer, userId: response.user.id, exported, release, settled };
}

test("a route answers before the handlers are done, and passes the emit to Better Auth", async () => {
  const tasks: Promise<unknown>[] = [];
  const backgroundTasks = { handler: (task: Promise<unknown>) => tasks.push(task) };
  const { answer, userId, exported, release } = await requestExport({ backgroundTasks });
  expect([answer.status, exported, tasks.length]).toEqual([200, [], 1]);

  release();
  await Promise.all(tasks);
  expect(exported).toEqual([userId]);
});

test("without background tasks, the handlers go on all the same", async () => {
  const { answer, userId, exported, release, settled } = await requestExport();
  expect([answer.status, exported]).toEqual([200, []]);

  release();
  await settled();
  expect(exported).toEqual([userId]);
});
