import { getBus } from "@kernia/events";
import type { BetterAuthOptions, BetterAuthPlugin } from "better-auth";
import { createAuthEndpoint, createAuthMiddleware } from "better-auth/api";
import { admin, anonymous } from "better-auth/plugins";
import { build } from "esbuild";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { startAuthServer, startUp } from "../fixtures/auth-server";
import { Client } from "../fixtures/client";
import { deferToEnd } from "../fixtures/defer-to-end";
import { node } from "../fixtures/npm";
import { createDatabase, startPostgres } from "../fixtures/postgres";
import { createTemporaryFolder } from "../fixtures/temporary-folder";
import { createOrganization, join, expectOk, password, signUp } from "../fixtures/users";
import { auditLog, createAuditLog } from "./audit-log";
import { standardEvents } from "./standard-events";

declare global {
  interface KerniaEvents {
    "audit.exported": undefined;
  }
}

const defer = deferToEnd();

const headers = { "user-agent": "Firefox on loopback", "x-forwarded-for": "192.0.2.7" };
const nowhere = { actorId: null, ipAddress: null, userAgent: null, route: null };
const added = "organization.member.added";
const removed = "organization.member.removed";

/** Emits an event when somebody signs in, and in a route that has nothing to do with sessions. */
const emitter: BetterAuthPlugin = {
  id: "emitter",
  endpoints: {
    forget: createAuthEndpoint("/forget", { method: "POST" }, async ({ context }) => {
      await getBus(context).emit("user.deleted", { userId: "user_1", action: "deleted" });
      return { session: context.session };
    }),
  },
  hooks: {
    after: [
      {
        matcher: ({ path }) => path === "/sign-in/email",
        handler: createAuthMiddleware(({ context }) =>
          getBus(context).emit("user.deleted", { userId: "user_1", action: "deleted" }),
        ),
      },
    ],
  },
};

let server: Awaited<ReturnType<typeof start>>;

async function start() {
  const databaseUrl = await createDatabase(await startPostgres(defer), defer);
  const plugins = [admin(), anonymous(), auditLog(), standardEvents(), emitter];
  const started = await startAuthServer({ databaseUrl, plugins });
  defer(() => started.close());
  const context = await started.auth.$context;
  return { ...started, context, ada: await signUp(started.url, "Ada") };
}

beforeAll(async () => {
  server = await start();
});

beforeEach(async () => {
  await server.pool.query(`delete from "auditLog"`);
});

/** The rows without their ids, in the order in which they were written. */
async function auditRows() {
  const { rows } = await server.pool.query(`select * from "auditLog" order by xmin::text::bigint`);
  return rows.map(({ id: _id, payload, ...row }) => ({ ...row, payload: JSON.parse(payload) }));
}

/** Ada's organization with Bob, who is an admin of it. */
async function organizationOfTwo() {
  const organizationId = await createOrganization(server.ada, "lovelace");
  const bob = await join(server.ada, organizationId, "Bob", "admin");
  await server.pool.query(`delete from "auditLog"`);
  return { organizationId, bob };
}

test("a row says what happened to whom, who did it, from where and by which route", async () => {
  const { organizationId, bob } = await organizationOfTwo();
  const removal = { organizationId, memberIdOrEmail: bob.email };
  expectOk(await server.ada.client.post("/organization/remove-member", removal, headers));

  expect(await auditRows()).toEqual([
    {
      event: removed,
      payload: { organizationId, userId: bob.userId, role: "admin", action: "removed" },
      organizationId,
      actorId: server.ada.userId,
      ipAddress: "192.0.2.7",
      userAgent: "Firefox on loopback",
      route: "/organization/remove-member",
      jobId: null,
      createdAt: expect.any(Date),
    },
  ]);
});

/** Ways to make a change, which return what the rows should say. */
const origins: Record<string, () => Promise<unknown[][]>> = {
  async "the owner who sets a role"() {
    const { organizationId, bob } = await organizationOfTwo();
    const route = "/organization/update-member-role";
    const update = { organizationId, memberId: bob.memberId, role: "member" };
    expectOk(await server.ada.client.post(route, update));
    return [["organization.member.updated", route, server.ada.userId]];
  },
  async "the admin who impersonates a member"() {
    const { organizationId, bob } = await organizationOfTwo();
    const { client, userId } = await signUp(server.url, "Root");
    await server.pool.query(`update "user" set role = 'admin' where id = $1`, [userId]);
    expectOk(await client.post("/admin/impersonate-user", { userId: bob.userId }));
    expectOk(await client.post("/organization/leave", { organizationId }));
    return [[removed, "/organization/leave", userId]];
  },
  async "the user who deletes the account, whose session is deleted with it"() {
    const { bob } = await organizationOfTwo();
    expectOk(await bob.client.post("/delete-user", { password }));
    return [removed, "user.deleted"].map((event) => [event, "/delete-user", bob.userId]);
  },
  async "the user who signs in, whose session is new"() {
    const { email, userId } = await signUp(server.url, "Bob");
    expectOk(await new Client(server.url).post("/sign-in/email", { email, password }));
    return [["user.deleted", "/sign-in/email", userId]];
  },
  async "the anonymous user who signs up, and is deleted for it"() {
    const browser = new Client(server.url);
    const { id } = expectOk(await browser.post("/sign-in/anonymous")).body.user;
    expectOk(
      await browser.post("/sign-up/email", { name: "Bob", email: "new@example.com", password }),
    );
    return [["user.deleted", "/sign-up/email", id]];
  },
  async "nobody where nobody is signed in"() {
    expectOk(await new Client(server.url).post("/forget"));
    return [["user.deleted", "/forget", null]];
  },
};

test.each(Object.entries(origins))("a row names %s", async (_, change) => {
  const expected = await change();

  const rows = await auditRows();
  expect(rows.map(({ event, route, actorId }) => [event, route, actorId])).toEqual(expected);
});

test("a server-side call with a user's headers has that user as its actor; without headers it has none", async () => {
  const { organizationId, bob } = await organizationOfTwo();
  const { removeMember, addMember } = server.auth.api;
  const body = { organizationId, userId: bob.userId, role: "member" } as const;
  const { headers } = server.ada.client;
  await removeMember({ body: { organizationId, memberIdOrEmail: bob.email }, headers });
  await addMember({ body, headers });
  const where = [{ field: "userId", value: bob.userId }];
  await server.context.adapter.deleteMany({ model: "member", where });
  await addMember({ body });

  expect(await auditRows()).toMatchObject([
    { event: removed, actorId: server.ada.userId, route: "/organization/remove-member" },
    // It has no route.
    { event: added, actorId: server.ada.userId, route: null },
    { event: removed, ...nowhere },
    { event: added, ...nowhere },
  ]);
});

test("a row changes no session, and sets no cookie", async () => {
  const { client, userId } = await signUp(server.url, "Bob");
  const query = (sql: string) => server.pool.query(`${sql} where "userId" = $1`, [userId]);
  const forget = () =>
    fetch(`${server.url}/api/auth/forget`, { method: "POST", headers: client.headers });
  await query(`update session set "expiresAt" = now() + interval '1 day'`);
  const { rows } = await query("select * from session");

  // A session that is due to be refreshed, and one whose cookie is to be removed.
  const refreshable = await forget();
  expect(await refreshable.json()).toEqual({ session: null });
  expect((await query("select * from session")).rows).toEqual(rows);
  await query("delete from session");
  const outdated = await forget();

  const cookies = [refreshable, outdated].map(({ headers }) => headers.getSetCookie());
  expect(cookies).toEqual([[], []]);
  expect((await auditRows()).map(({ actorId }) => actorId)).toEqual([userId, null]);
});

test("the address is the one that Better Auth sees, within its options", async () => {
  const options: BetterAuthOptions = server.context.options;
  const { bob } = await organizationOfTwo();
  const addresses: unknown[] = [];
  // What a client has invented, its address, and that of a proxy.
  const sent = {
    "x-client-ip": "192.0.2.8",
    "x-forwarded-for": "6.6.6.6, 198.51.100.1, 192.0.2.7",
  };
  const ipAddressHeaders = ["x-client-ip", "x-forwarded-for"];
  for (const ipAddress of [
    { trustedProxies: ["192.0.2.7"] },
    { ipAddressHeaders },
    { ipAddressHeaders, disableIpTracking: true },
  ]) {
    options.advanced = { ipAddress };
    expectOk(await bob.client.post("/forget", {}, sent));
    delete options.advanced;
    addresses.push((await auditRows()).at(-1).ipAddress);
  }

  expect(addresses).toEqual(["198.51.100.1", "192.0.2.8", null]);
});

test("an event of one's own gets a row, with its organization, by which rows are found", async () => {
  const bus = getBus(server.context);
  const event = "billing.subscription.changed";
  bus.on(event, createAuditLog(server.context, event));
  bus.on("audit.exported", createAuditLog(server.context, "audit.exported"));
  await bus.emit(event, { organizationId: "organization_1" });
  await bus.emit("audit.exported", undefined);

  expect(await auditRows()).toMatchObject([
    { event, payload: { organizationId: "organization_1" }, organizationId: "organization_1" },
    { event: "audit.exported", payload: null, organizationId: null },
  ]);
  const { rows } = await server.pool.query("select indexdef from pg_indexes");
  expect(rows).toContainEqual({ indexdef: expect.stringMatching(/"auditLog".*"organizationId"/) });
});

const payload = { userId: "user_1", action: "deleted" } as const;
const job = { id: "job_1", createdAt: new Date("2026-01-02T03:04:05.678Z") };

test("a job has one row, with its time and no actor, even if it runs twice at the same time", async () => {
  const writeAuditRow = createAuditLog(server.context, "user.deleted");
  await writeAuditRow(payload, job);
  await Promise.all(Array.from({ length: 8 }, () => writeAuditRow(payload, job)));
  await writeAuditRow(payload, { ...job, id: "job_2" });
  await writeAuditRow(payload);

  const row = { event: "user.deleted", payload, organizationId: null, ...nowhere };
  expect(await auditRows()).toEqual([
    { ...row, jobId: "job_1", createdAt: job.createdAt },
    { ...row, jobId: "job_2", createdAt: job.createdAt },
    { ...row, jobId: null, createdAt: expect.any(Date) },
  ]);
});

test.each([
  ["a job", job],
  ["a bus", undefined],
])("%s whose row cannot be written learns of it", async (_, job) => {
  await server.pool.query(`alter table "auditLog" rename column event to name`);
  const written = createAuditLog(server.context, "user.deleted")(payload, job);
  await expect(written).rejects.toMatchObject({ code: "42703" });

  await server.pool.query(`alter table "auditLog" rename column name to event`);
  expect(await auditRows()).toEqual([]);
});

test("it is logged once, at the start, that nothing seems to emit the standard events", async () => {
  expect((await startUp({ plugins: [auditLog()] })).logged).toEqual([
    "The audit log does not find the plugin standard-events, without which it stays empty. Add it, " +
      "unless something else emits the standard events.",
  ]);
  expect((await startUp({ plugins: [auditLog(), standardEvents()] })).logged).toEqual([]);
});

/** A user sends a request that is logged, from a browser called "Firefox". */
const bundledApp = `
  import { betterAuth } from "better-auth";
  import { createAuthEndpoint } from "better-auth/api";
  import { getBus } from "@kernia/events";
  import { auditLog } from "./audit-log";
  const logger = { log: (level, message) => console.log(message) };
  const forget = createAuthEndpoint("/forget", { method: "POST" }, ({ context }) =>
    getBus(context).emit("user.deleted", { userId: "user_1", action: "deleted" }),
  );
  const plugins = [{ id: "standard-events" }, auditLog(), { id: "forget", endpoints: { forget } }];
  const secret = "a secret for a test, and for nothing else";
  const telemetry = { enabled: false };
  const auth = betterAuth({ baseURL: "http://localhost", secret, telemetry, logger, plugins });
  await auth.api.forget({ headers: new Headers({ "user-agent": "Firefox" }) });
  const [row] = await (await auth.$context).adapter.findMany({ model: "auditLog" });
  console.log(row.userAgent);
`;

test.each([
  ["browser", /^The audit log writes no user.*bundled for a browser.*\nundefined\n$/],
  ["node", /^Firefox\n$/],
] as const)("bundled with platform %s, a row names no other user", async (platform, printed) => {
  const folder = await createTemporaryFolder(defer);
  const stdin = { contents: bundledApp, resolveDir: import.meta.dirname };
  const outfile = `${folder}/app.mjs`;
  await build({ stdin, outfile, platform, bundle: true, format: "esm", external: ["node:*"] });

  expect(await node(folder, "app.mjs")).toMatch(printed);
});
