import { randomUUID } from "node:crypto";
import { getMigrations } from "better-auth/db/migration";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import { createOrganization, invite, must, password } from "../fixtures/users";
import { startPathServer, type PathServer } from "../membership-changes/server";
import { auditLog, createAuditLog } from "./audit-log";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();

/** What a browser behind a proxy sends. */
const headers = { "user-agent": "Firefox on loopback", "x-forwarded-for": "192.0.2.7" };
const origin = { jobId: null, ipAddress: "192.0.2.7", userAgent: "Firefox on loopback" };
const nowhere = { actorId: null, ipAddress: null, userAgent: null, route: null };

let server: PathServer;

beforeAll(async () => {
  server = await startPathServer(defer, { plugins: [auditLog(), standardEvents()] });
});

beforeEach(async () => {
  await server.outside.query(`delete from "auditLog"`);
});

/** The rows without id and time, in the order in which they were written. */
async function auditRows() {
  const { rows } = await server.outside.query(
    `select * from "auditLog" order by "createdAt", event`,
  );
  return rows.map(({ id: _id, createdAt: _createdAt, payload, ...row }) => ({
    ...row,
    payload: JSON.parse(payload),
  }));
}

describe("organization.member.added", () => {
  test("is by the owner who creates the organization", async () => {
    const { ada } = server;
    const body = { name: "new", slug: randomUUID() };
    const created = must(await ada.client.post("/organization/create", body, headers));

    expect(await auditRows()).toEqual([
      {
        event: "organization.member.added",
        payload: {
          organizationId: created.body.id,
          userId: ada.userId,
          role: "owner",
          action: "added",
        },
        actorId: ada.userId,
        route: "/organization/create",
        ...origin,
      },
    ]);
  });

  test("is by the member who accepts the invitation", async () => {
    const bob = await server.signUp("Bob");
    const invitationId = await invite(server.ada, await server.organization(), bob.email);
    must(await bob.client.post("/organization/accept-invitation", { invitationId }, headers));

    expect((await auditRows()).at(-1)).toMatchObject({
      event: "organization.member.added",
      payload: { userId: bob.userId },
      actorId: bob.userId,
      route: "/organization/accept-invitation",
      ...origin,
    });
  });

  test("is by nobody where the server adds a member by itself", async () => {
    const [organizationId, bob] = [await server.organization(), await server.signUp("Bob")];
    const body = { organizationId, userId: bob.userId, role: "member" };
    await server.auth.api["addMember"]!({ body });

    expect((await auditRows()).at(-1)).toMatchObject({
      payload: { userId: bob.userId },
      ...nowhere,
    });
  });
});

describe("organization.member.removed", () => {
  test("is by the owner who removes the member, not by the member", async () => {
    const { ada } = server;
    const organizationId = await server.organization();
    const bob = await server.join(organizationId, "admin");
    const body = { organizationId, memberIdOrEmail: bob.email };
    must(await ada.client.post("/organization/remove-member", body, headers));

    expect((await auditRows()).at(-1)).toEqual({
      event: "organization.member.removed",
      payload: { organizationId, userId: bob.userId, role: "admin", action: "removed" },
      actorId: ada.userId,
      route: "/organization/remove-member",
      ...origin,
    });
  });

  test("is by the member who leaves", async () => {
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    must(await bob.client.post("/organization/leave", { organizationId }, headers));

    expect((await auditRows()).at(-1)).toMatchObject({
      payload: { userId: bob.userId },
      actorId: bob.userId,
      route: "/organization/leave",
      ...origin,
    });
  });

  test("is by the owner who deletes the organization, for each member", async () => {
    const { ada } = server;
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    await server.outside.query(`delete from "auditLog"`);
    must(await ada.client.post("/organization/delete", { organizationId }, headers));

    const rows = await auditRows();
    expect(rows.map(({ payload }) => payload.userId).sort()).toEqual(
      [ada.userId, bob.userId].sort(),
    );
    for (const row of rows) {
      expect(row).toMatchObject({
        event: "organization.member.removed",
        actorId: ada.userId,
        route: "/organization/delete",
        ...origin,
      });
    }
  });

  test("is by the owner in whose name the server calls", async () => {
    const { ada, auth } = server;
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    const body = { organizationId, memberIdOrEmail: bob.email };
    await auth.api["removeMember"]!({ body, headers: ada.client.headers });

    expect((await auditRows()).at(-1)).toMatchObject({
      payload: { userId: bob.userId },
      actorId: ada.userId,
      route: "/organization/remove-member",
    });
  });

  test("is by the admin who impersonates a member", async () => {
    const { root } = server;
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    const browser = root.client.at(server.url);
    must(await browser.post("/admin/impersonate-user", { userId: bob.userId }));
    must(await browser.post("/organization/leave", { organizationId }, headers));

    expect((await auditRows()).at(-1)).toMatchObject({
      payload: { userId: bob.userId },
      actorId: root.userId,
    });
  });
});

test("organization.member.updated is by the owner who changes the role", async () => {
  const { ada } = server;
  const organizationId = await server.organization();
  const { memberId, userId } = await server.join(organizationId);
  const body = { organizationId, memberId, role: "admin" };
  must(await ada.client.post("/organization/update-member-role", body, headers));

  expect((await auditRows()).at(-1)).toEqual({
    event: "organization.member.updated",
    payload: { organizationId, userId, role: "admin", action: "updated" },
    actorId: ada.userId,
    route: "/organization/update-member-role",
    ...origin,
  });
});

describe("user.deleted, and the removals that come with it,", () => {
  test("are by the user, whose session is gone by then", async () => {
    const bob = await server.signUp("Bob");
    await createOrganization(bob, "bobs");
    await server.outside.query(`delete from "auditLog"`);
    must(await bob.client.post("/delete-user", { password }, headers));

    expect(await auditRows()).toMatchObject(
      ["organization.member.removed", "user.deleted"].map((event) => ({
        event,
        payload: { userId: bob.userId },
        actorId: bob.userId,
        route: "/delete-user",
        ...origin,
      })),
    );
  });

  test("are by the user who follows the link", async () => {
    const bob = await server.signUp("Bob");
    await server.context.internalAdapter.createVerificationValue({
      identifier: `delete-account-${bob.userId}`,
      value: bob.userId,
      expiresAt: new Date(Date.now() + 60_000),
    });
    const link = `${server.url}/api/auth/delete-user/callback?token=${bob.userId}`;
    must(await bob.client.get(link, headers));

    expect(await auditRows()).toMatchObject([
      {
        event: "user.deleted",
        payload: { userId: bob.userId },
        actorId: bob.userId,
        route: "/delete-user/callback",
        ...origin,
      },
    ]);
  });

  test("are by the admin who removes the user", async () => {
    const { root } = server;
    const { userId } = await server.join(await server.organization());
    await server.outside.query(`delete from "auditLog"`);
    must(await root.client.post("/admin/remove-user", { userId }, headers));

    expect(await auditRows()).toMatchObject(
      ["organization.member.removed", "user.deleted"].map((event) => ({
        event,
        payload: { userId },
        actorId: root.userId,
        route: "/admin/remove-user",
        ...origin,
      })),
    );
  });

  test("are by the anonymous user who signs up, and is deleted for it", async () => {
    const browser = server.client();
    const { body } = must(await browser.post("/sign-in/anonymous"));
    const bob = { name: "Bob", email: `bob-${randomUUID()}@example.com`, password };
    must(await browser.post("/sign-up/email", bob, headers));

    expect(await auditRows()).toMatchObject([
      {
        event: "user.deleted",
        payload: { userId: body.user.id },
        actorId: body.user.id,
        route: "/sign-up/email",
        ...origin,
      },
    ]);
  });
});

describe("in a worker, which has no request,", () => {
  const payload = { userId: "user_1", action: "deleted" } as const;
  const job = { id: "job_1", createdAt: new Date("2026-01-02T03:04:05.678Z") };

  /** The rows as they are, with their times and jobs. */
  async function jobRows() {
    const { rows } = await server.outside.query(
      `select "jobId" as id, "createdAt" from "auditLog"`,
    );
    return rows;
  }

  test("it writes what happened and nobody who did it", async () => {
    await createAuditLog(server.context, "user.deleted")(payload);

    expect(await auditRows()).toEqual([
      { event: "user.deleted", payload, jobId: null, ...nowhere },
    ]);
  });

  test("a job has one row, with the job's time, when it is tried again", async () => {
    const writeAuditRow = createAuditLog(server.context, "user.deleted");
    await writeAuditRow(payload, job);
    await writeAuditRow(payload, job);

    expect(await jobRows()).toEqual([job]);
  });

  test("a job has one row when it runs many times at the same moment", async () => {
    const writeAuditRow = createAuditLog(server.context, "user.deleted");
    await Promise.all(Array.from({ length: 8 }, () => writeAuditRow(payload, job)));

    expect(await jobRows()).toEqual([job]);
  });

  test("jobs have a row each, and so has each event without a job", async () => {
    const writeAuditRow = createAuditLog(server.context, "user.deleted");
    await writeAuditRow(payload, job);
    await writeAuditRow(payload, { ...job, id: "job_2" });
    await writeAuditRow(payload);
    await writeAuditRow(payload);

    const ids = (await jobRows()).map(({ id }) => id);
    expect(ids.sort()).toEqual(["job_1", "job_2", null, null]);
  });

  test("what keeps the row from being written fails the job", async () => {
    const writeAuditRow = createAuditLog(server.context, "user.deleted");
    await server.outside.query(`alter table "auditLog" rename column event to name`);
    const [outcome] = await Promise.allSettled([writeAuditRow(payload, job)]);
    await server.outside.query(`alter table "auditLog" rename column name to event`);

    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "42703" } });
    expect(await jobRows()).toEqual([]);
  });
});

describe("the address", () => {
  /** Has Bob leave with these headers, and returns what the row says. */
  async function addressOf(headers: Record<string, string>) {
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    must(await bob.client.post("/organization/leave", { organizationId }, headers));
    return (await auditRows()).at(-1).ipAddress;
  }

  test("is what the proxies say, all of it where there are several", async () => {
    const chain = "198.51.100.1, 192.0.2.7";

    expect(await addressOf({ "x-forwarded-for": chain })).toBe(chain);
  });

  test("is not known where no proxy says it", async () => {
    expect(await addressOf({})).toBe(null);
  });

  test("is read from the headers that Better Auth is told to read, and not against its options", async () => {
    const { ipAddress } = server.context.options.advanced!;
    try {
      ipAddress!.ipAddressHeaders = ["x-client-ip", "x-forwarded-for"];
      expect(await addressOf({ "x-client-ip": "192.0.2.8", "x-forwarded-for": "192.0.2.7" })).toBe(
        "192.0.2.8",
      );
      ipAddress!.disableIpTracking = true;
      expect(await addressOf(headers)).toBe(null);
    } finally {
      ipAddress!.ipAddressHeaders = ["x-forwarded-for"];
      delete ipAddress!.disableIpTracking;
    }
  });
});

test("a table from before there were jobs gets the column, and keeps its rows", async () => {
  await createAuditLog(server.context, "user.deleted")({ userId: "user_1", action: "deleted" });
  await server.outside.query(`alter table "auditLog" drop column "jobId"`);
  await (await getMigrations(server.context.options)).runMigrations();
  await createAuditLog(server.context, "user.deleted")({ userId: "user_2", action: "deleted" });

  expect((await auditRows()).map(({ jobId }) => jobId)).toEqual([null, null]);
});
