import { getBus } from "@kernia/events";
import type { BetterAuthOptions, BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware } from "better-auth/api";
import { admin, anonymous } from "better-auth/plugins";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startAuthServer } from "../fixtures/auth-server";
import { Client } from "../fixtures/client";
import { deferToEnd } from "../fixtures/defer-to-end";
import { createDatabase, startPostgres } from "../fixtures/postgres";
import { startUp } from "../fixtures/auth-server";
import { createOrganization, join, must, password, signUp } from "../fixtures/users";
import { auditLog, createAuditLog } from "./audit-log";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();

const headers = { "user-agent": "Firefox on loopback", "x-forwarded-for": "192.0.2.7" };
const nowhere = { actorId: null, ipAddress: null, userAgent: null, route: null };
const added = "organization.member.added";
const removed = "organization.member.removed";

/** Emits an event when somebody signs in. */
const emitter: BetterAuthPlugin = {
  id: "emitter",
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
  const [ada, root] = [await signUp(started.url, "Ada"), await signUp(started.url, "Root")];
  await started.pool.query(`update "user" set role = 'admin' where id = $1`, [root.userId]);
  return { ...started, context, ada, root };
}

beforeAll(async () => {
  server = await start();
});

beforeEach(async () => {
  await server.pool.query(`delete from "auditLog"`);
});

/** The rows without their ids, in the order in which they were written. */
async function auditRows() {
  const { rows } = await server.pool.query(
    `select * from "auditLog" order by "createdAt", event, "jobId"`,
  );
  return rows.map(({ id: _id, payload, ...row }) => ({ ...row, payload: JSON.parse(payload) }));
}

/** Ada's organization with Bob, who is an admin of it. */
async function organizationOfTwo() {
  const organizationId = await createOrganization(server.ada, "lovelace");
  const bob = await join(server.ada, organizationId, "Bob", "admin");
  await server.pool.query(`delete from "auditLog"`);
  return { organizationId, bob };
}

describe("a row says what happened, by which route, and who did it:", () => {
  /** The parts of each row that say so. */
  const origins = async () =>
    (await auditRows()).map(({ event, route, actorId }) => [event, route, actorId]);

  test("the owner who removes a member, from an address and with a browser", async () => {
    const { organizationId, bob } = await organizationOfTwo();
    const removal = { organizationId, memberIdOrEmail: bob.email };
    must(await server.ada.client.post("/organization/remove-member", removal, headers));

    expect(await auditRows()).toEqual([
      {
        event: removed,
        payload: { organizationId, userId: bob.userId, role: "admin", action: "removed" },
        actorId: server.ada.userId,
        ipAddress: "192.0.2.7",
        userAgent: "Firefox on loopback",
        route: "/organization/remove-member",
        jobId: null,
        createdAt: expect.any(Date),
      },
    ]);
  });

  test("the admin who impersonates a member", async () => {
    const { organizationId, bob } = await organizationOfTwo();
    const browser = server.root.client.at(server.url);
    must(await browser.post("/admin/impersonate-user", { userId: bob.userId }));
    must(await browser.post("/organization/leave", { organizationId }));

    expect(await origins()).toEqual([[removed, "/organization/leave", server.root.userId]]);
  });

  test("the user who deletes the account, whose session is deleted with it", async () => {
    const { bob } = await organizationOfTwo();
    must(await bob.client.post("/delete-user", { password }));

    expect(await origins()).toEqual([
      [removed, "/delete-user", bob.userId],
      ["user.deleted", "/delete-user", bob.userId],
    ]);
  });

  test("the user who signs in, where the session is new", async () => {
    const { email, userId } = await signUp(server.url, "Bob");
    must(await new Client(server.url).post("/sign-in/email", { email, password }));

    expect(await origins()).toEqual([["user.deleted", "/sign-in/email", userId]]);
  });

  test("the anonymous user who signs up, and is deleted for it", async () => {
    const browser = new Client(server.url);
    const { id } = must(await browser.post("/sign-in/anonymous")).body.user;
    const bob = { name: "Bob", email: "new@example.com", password };
    must(await browser.post("/sign-up/email", bob));

    expect(await origins()).toEqual([["user.deleted", "/sign-up/email", id]]);
  });
});

test("a server-side call with a user's headers has that user as its actor; without headers it has none", async () => {
  const { organizationId, bob } = await organizationOfTwo();
  const { removeMember, addMember } = server.auth.api;
  const body = { organizationId, memberIdOrEmail: bob.email };
  await removeMember({ body, headers: server.ada.client.headers });
  await addMember({ body: { organizationId, userId: bob.userId, role: "member" } });

  expect(await auditRows()).toMatchObject([
    { event: removed, actorId: server.ada.userId, route: "/organization/remove-member" },
    { event: added, ...nowhere },
  ]);
});

test("the address is what the proxies say, in the headers and within the options of Better Auth", async () => {
  const options: BetterAuthOptions = server.context.options;
  const chain = "198.51.100.1, 192.0.2.7";
  const both = { "x-client-ip": "192.0.2.8", "x-forwarded-for": chain };
  const ipAddressHeaders = ["x-client-ip", "x-forwarded-for"];
  const addresses: unknown[] = [];
  for (const [headers, ipAddress] of [
    [{}, {}],
    [both, {}],
    [both, { ipAddressHeaders }],
    [both, { ipAddressHeaders, disableIpTracking: true }],
  ] as const) {
    const { organizationId, bob } = await organizationOfTwo();
    options.advanced = { ipAddress };
    must(await bob.client.post("/organization/leave", { organizationId }, headers));
    delete options.advanced;
    addresses.push((await auditRows())[0].ipAddress);
  }

  expect(addresses).toEqual([null, chain, "192.0.2.8", null]);
});

describe("in a worker, which has no request,", () => {
  const payload = { userId: "user_1", action: "deleted" } as const;
  const job = { id: "job_1", createdAt: new Date("2026-01-02T03:04:05.678Z") };

  test("a job has one row, with its time and no actor, even if it runs twice at the same time", async () => {
    const writeAuditRow = createAuditLog(server.context, "user.deleted");
    await writeAuditRow(payload, job);
    await Promise.all(Array.from({ length: 8 }, () => writeAuditRow(payload, job)));
    await writeAuditRow(payload, { ...job, id: "job_2" });
    await writeAuditRow(payload);

    const row = { event: "user.deleted", payload, ...nowhere };
    expect(await auditRows()).toEqual([
      { ...row, jobId: "job_1", createdAt: job.createdAt },
      { ...row, jobId: "job_2", createdAt: job.createdAt },
      { ...row, jobId: null, createdAt: expect.any(Date) },
    ]);
  });

  test("a row that cannot be written fails the job", async () => {
    await server.pool.query(`alter table "auditLog" rename column event to name`);
    const written = createAuditLog(server.context, "user.deleted")(payload, job);
    await expect(written).rejects.toMatchObject({ code: "42703" });

    await server.pool.query(`alter table "auditLog" rename column name to event`);
    expect(await auditRows()).toEqual([]);
  });
});

test("it is logged once, at the start, that nothing seems to emit the standard events", async () => {
  expect((await startUp({ plugins: [auditLog()] })).logged).toEqual([
    "The audit log does not find the plugin standard-events, without which it stays empty. Add it, " +
      "unless something else emits the standard events.",
  ]);
  expect((await startUp({ plugins: [auditLog(), standardEvents()] })).logged).toEqual([]);
});
