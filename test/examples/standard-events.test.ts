import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startApp } from "../app/harness/app";
import {
  accept,
  createOrganization,
  invite,
  join,
  password,
  signUp,
  type Person,
} from "../app/harness/people";
import { alwaysFails } from "../app/plugins/always-fails";
import { auditLog } from "./audit-log";
import { deferToEnd } from "../app/harness/defer-to-end";

const defer = deferToEnd();

let app: Awaited<ReturnType<typeof startApp>>;
let ada: Person;
let organizationId: string;

beforeAll(async () => {
  app = await startApp(defer, { plugins: [auditLog(), alwaysFails()] });
  ada = await signUp(app.url, "Ada");
  organizationId = await createOrganization(ada, "lovelace");
});

beforeEach(() => {
  app.emitted.length = 0;
  app.errors.length = 0;
});

describe("organization.member.added", () => {
  test("is emitted when an invitation is accepted", async () => {
    const bob = await signUp(app.url, "Bob");
    const invitationId = await invite(ada, organizationId, bob.email, "admin");

    const answer = await accept(bob, invitationId);

    expect(answer.status).toBe(200);
    expect(app.emitted).toEqual([
      [
        "organization.member.added",
        { organizationId, userId: bob.userId, role: "admin", action: "added" },
      ],
    ]);
  });

  test("is not emitted when accepting fails", async () => {
    const bob = await signUp(app.url, "Bob");
    const eve = await signUp(app.url, "Eve");
    const invitationId = await invite(ada, organizationId, bob.email);

    expect((await accept(eve, invitationId)).status).toBe(403);
    expect((await accept(bob, "unknown")).status).toBe(400);

    expect(app.emitted).toEqual([]);
  });

  test("reaches the client as a success while a handler fails, which is logged", async () => {
    const bob = await signUp(app.url, "Bob");
    const invitationId = await invite(ada, organizationId, bob.email);

    const answer = await accept(bob, invitationId);

    expect(answer.status).toBe(200);
    expect(app.errors).toEqual([
      "Event handler failed: organization.member.added Error: the mailing list is full",
    ]);
  });
});

describe("organization.member.removed", () => {
  test("is emitted when a member is removed", async () => {
    const bob = await join(ada, organizationId, "Bob", "admin");
    app.emitted.length = 0;

    const answer = await ada.client.post("/organization/remove-member", {
      organizationId,
      memberIdOrEmail: bob.email,
    });

    expect(answer.status).toBe(200);
    expect(app.emitted).toEqual([
      [
        "organization.member.removed",
        { organizationId, userId: bob.userId, role: "admin", action: "removed" },
      ],
    ]);
  });

  test("is not emitted when removing fails", async () => {
    const bob = await join(ada, organizationId, "Bob");
    app.emitted.length = 0;

    const answer = await bob.client.post("/organization/remove-member", {
      organizationId,
      memberIdOrEmail: ada.email,
    });

    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(app.emitted).toEqual([]);
  });

  test("is emitted when a member leaves", async () => {
    const bob = await join(ada, organizationId, "Bob");
    app.emitted.length = 0;

    const answer = await bob.client.post("/organization/leave", { organizationId });

    expect(answer.status).toBe(200);
    expect(app.emitted).toEqual([
      [
        "organization.member.removed",
        { organizationId, userId: bob.userId, role: "member", action: "removed" },
      ],
    ]);
  });

  test("is not emitted when leaving fails", async () => {
    const answer = await ada.client.post("/organization/leave", { organizationId });

    expect(answer.status).toBe(400);
    expect(app.emitted).toEqual([]);
  });
});

describe("organization.member.updated", () => {
  test("is emitted with the new role when a role is changed", async () => {
    const bob = await join(ada, organizationId, "Bob");
    app.emitted.length = 0;

    const answer = await ada.client.post("/organization/update-member-role", {
      organizationId,
      memberId: bob.memberId,
      role: "admin",
    });

    expect(answer.status).toBe(200);
    expect(app.emitted).toEqual([
      [
        "organization.member.updated",
        { organizationId, userId: bob.userId, role: "admin", action: "updated" },
      ],
    ]);
  });

  test("is not emitted when changing it fails", async () => {
    const bob = await join(ada, organizationId, "Bob");
    app.emitted.length = 0;

    const answer = await bob.client.post("/organization/update-member-role", {
      organizationId,
      memberId: bob.memberId,
      role: "owner",
    });

    expect(answer.status).toBe(403);
    expect(app.emitted).toEqual([]);
  });
});

describe("user.deleted", () => {
  test("is emitted when a user deletes their account", async () => {
    const bob = await signUp(app.url, "Bob");

    const answer = await bob.client.post("/delete-user", { password });

    expect(answer.status).toBe(200);
    expect(app.emitted).toEqual([["user.deleted", { userId: bob.userId, action: "deleted" }]]);
  });

  test("comes after the removal of the memberships that went with the account", async () => {
    const bob = await join(ada, organizationId, "Bob");
    app.emitted.length = 0;

    await bob.client.post("/delete-user", { password });

    expect(app.emitted).toEqual([
      [
        "organization.member.removed",
        { organizationId, userId: bob.userId, role: "member", action: "removed" },
      ],
      ["user.deleted", { userId: bob.userId, action: "deleted" }],
    ]);
  });

  test.each([
    ["the app redirects afterwards", "/bye", 302],
    ["the app answers", "", 200],
  ])("waits until a user confirms by a link: %s", async (_, callbackURL, status) => {
    let link = "";
    const confirming = await startApp(defer, {
      deleteUser: {
        sendDeleteAccountVerification: async ({ url }) => {
          link = url;
        },
      },
    });
    const bob = await signUp(confirming.url, "Bob");
    const bobsOrganizationId = await createOrganization(bob, "bobs");

    await bob.client.post("/delete-user", { password });
    expect(confirming.emitted).toEqual([]);
    const wrongLink = link.replace(/token=[^&]+/, "token=wrong");
    expect((await bob.client.get(wrongLink)).status).toBe(404);
    expect(confirming.emitted).toEqual([]);

    const url = new URL(link);
    if (callbackURL === "") url.searchParams.delete("callbackURL");
    else url.searchParams.set("callbackURL", callbackURL);
    expect((await bob.client.get(url.href)).status).toBe(status);
    expect(confirming.emitted).toEqual([
      [
        "organization.member.removed",
        {
          organizationId: bobsOrganizationId,
          userId: bob.userId,
          role: "owner",
          action: "removed",
        },
      ],
      ["user.deleted", { userId: bob.userId, action: "deleted" }],
    ]);
  });

  test("is not emitted when the password is wrong", async () => {
    const bob = await join(ada, organizationId, "Bob");
    app.emitted.length = 0;

    const answer = await bob.client.post("/delete-user", { password: "wrong password" });

    expect(answer.status).toBe(400);
    expect(app.emitted).toEqual([]);
  });

  test("is not emitted when nobody is signed in", async () => {
    const { client } = await signUp(app.url, "Bob");
    await client.post("/sign-out");

    const answer = await client.post("/delete-user", { password });

    expect(answer.status).toBe(401);
    expect(app.emitted).toEqual([]);
  });
});

test("the audit log has a row for each event, holding its payload", async () => {
  const bob = await join(ada, organizationId, "Bob");
  await ada.client.post("/organization/update-member-role", {
    organizationId,
    memberId: bob.memberId,
    role: "admin",
  });
  await bob.client.post("/delete-user", { password });

  const rows = await app.adapter.findMany<{ event: string; payload: string }>({
    model: "auditLog",
    sortBy: { field: "createdAt", direction: "asc" },
  });
  const bobs = rows
    .map(({ event, payload }) => [event, JSON.parse(payload)])
    .filter(([, payload]) => payload.userId === bob.userId);

  expect(app.emitted).toHaveLength(4);
  expect(bobs).toEqual(app.emitted);
});

test("two auth instances in one process do not hear each other", async () => {
  const other = await startApp(defer);
  const bob = await signUp(other.url, "Bob");

  await bob.client.post("/delete-user", { password });

  expect(other.emitted).toHaveLength(1);
  expect(app.emitted).toEqual([]);
});
