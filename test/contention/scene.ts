import { randomUUID } from "node:crypto";
import type { Where } from "better-auth";
import type { TestUser } from "../fixtures/users";
import type { ContendedServer } from "./server";
import type pg from "pg";

/**
 * Ada owns an organization; Bob is a member of it, Carol an admin, Dave not yet a member. Bob is a
 * member of a second one, too, and nobody of a third.
 */
export interface Scene {
  readonly ada: TestUser;
  readonly bob: string;
  readonly carol: string;
  readonly dave: string;
  readonly organization: string;
  readonly second: string;
  readonly third: string;
  /** The ids of the rows of the members. */
  readonly bobs: string;
  readonly carols: string;
}

/** Makes all but Ada, past everything. */
export async function createScene(database: pg.Pool, ada: TestUser): Promise<Scene> {
  const id = () => randomUUID();
  const scene = {
    ada,
    bob: id(),
    carol: id(),
    dave: id(),
    organization: id(),
    second: id(),
    third: id(),
    bobs: id(),
    carols: id(),
  };
  const { bob, carol, dave, organization, second, third, bobs, carols } = scene;
  await database.query(
    `with users as (
       insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
       select id, 'Guest', id || '@example.com', true, now(), now() from unnest($1::text[]) as id),
     organizations as (
       insert into organization (id, name, slug, "createdAt")
       select id, 'Guild', id, now() from unnest($2::text[]) as id)
     insert into member (id, "organizationId", "userId", role, "createdAt")
     select *, now() from unnest($3::text[], $4::text[], $5::text[], $6::text[])`,
    [
      [bob, carol, dave],
      [organization, second, third],
      [id(), bobs, carols, id()],
      [organization, organization, organization, second],
      [ada.userId, bob, carol, bob],
      ["owner", "member", "admin", "member"],
    ],
  );
  return scene;
}

export type Change = (server: ContendedServer, scene: Scene) => Promise<unknown>;

const byId = (id: string): Where[] => [{ field: "id", value: id }];
const byIds = (...ids: string[]): Where[] => [{ field: "id", operator: "in", value: ids }];
const ofOrganization = (id: string): Where[] => [{ field: "organizationId", value: id }];
const member = "member";

const post = ({ url, fetch }: ContendedServer, { ada }: Scene, path: string, body: object) =>
  ada.client
    .at(url, fetch)
    .post(path, body)
    .then(({ status }) => status);

/** The ways in which the scene can change, by routes, server-side calls and the adapter. */
export const changes = {
  "the route that changes a role": (server, scene) =>
    post(server, scene, "/organization/update-member-role", {
      organizationId: scene.organization,
      memberId: scene.bobs,
      role: "admin",
    }),
  "update of a role": ({ adapter }, { bobs }) =>
    adapter.update({ model: member, where: byId(bobs), update: { role: "editor" } }),
  "incrementOne that sets a role": ({ adapter }, { bobs }) =>
    adapter.incrementOne({
      model: member,
      where: byId(bobs),
      increment: {},
      set: { role: "author" },
    }),
  "updateMany of all roles": ({ adapter }, { organization }) =>
    adapter.updateMany({
      model: member,
      where: ofOrganization(organization),
      update: { role: "reader" },
    }),
  "updateMany of the roles of members": ({ adapter }, { organization }) =>
    adapter.updateMany({
      model: member,
      where: [...ofOrganization(organization), { field: "role", value: "member" }],
      update: { role: "writer" },
    }),
  "move to another organization": ({ adapter }, { bobs, third }) =>
    adapter.update({ model: member, where: byId(bobs), update: { organizationId: third } }),
  "move to another user": ({ adapter }, { bobs, dave }) =>
    adapter.update({ model: member, where: byId(bobs), update: { userId: dave } }),
  "the route that removes a member": (server, scene) =>
    post(server, scene, "/organization/remove-member", {
      organizationId: scene.organization,
      memberIdOrEmail: scene.bobs,
    }),
  "delete of a member": ({ adapter }, { bobs }) =>
    adapter.delete({ model: member, where: byId(bobs) }),
  "consumeOne of a member": ({ adapter }, { bobs }) =>
    adapter.consumeOne({ model: member, where: byId(bobs) }),
  "deleteMany of all members": ({ adapter }, { organization }) =>
    adapter.deleteMany({ model: member, where: ofOrganization(organization) }),
  "deleteMany of the members that are admins": ({ adapter }, { organization }) =>
    adapter.deleteMany({
      model: member,
      where: [...ofOrganization(organization), { field: "role", value: "admin" }],
    }),
  "the call that adds Dave": async ({ auth }, { organization, dave }) => {
    await auth.api["addMember"]!({
      body: { organizationId: organization, userId: dave, role: "member" },
    });
  },
  "create of a membership of Bob's": async ({ adapter }, { organization, bob }) => {
    const data = { organizationId: organization, userId: bob, role: "guest" };
    await adapter.create({ model: member, data: { ...data, createdAt: new Date() } });
  },
  "a move of Bob, and the call that adds Dave": async (server, scene) => {
    await changes["move to another organization"](server, scene);
    await changes["the call that adds Dave"](server, scene);
  },
  "delete of the memberships of Dave": ({ adapter }, { dave }) =>
    adapter.delete({ model: member, where: [{ field: "userId", value: dave }] }),
  "the deletion of a user by Better Auth": ({ context }, { bob }) =>
    context.internalAdapter.deleteUser(bob),
  "deleteMany of two users": ({ adapter }, { bob, carol }) =>
    adapter.deleteMany({ model: "user", where: byIds(bob, carol) }),
  "consumeOne of a user": ({ adapter }, { bob }) =>
    adapter.consumeOne({ model: "user", where: byId(bob) }).then((row) => row && "row"),
  "the route that deletes an organization": (server, scene) =>
    post(server, scene, "/organization/delete", { organizationId: scene.organization }),
  "deleteMany of two organizations": ({ adapter }, { organization, second }) =>
    adapter.deleteMany({ model: "organization", where: byIds(organization, second) }),
  "a transaction with two changes": ({ adapter }, { bobs, carols }) =>
    adapter.transaction(async (transaction) => {
      await transaction.update({ model: member, where: byId(bobs), update: { role: "chair" } });
      await transaction.delete({ model: member, where: byId(carols) });
    }),
  "a transaction that is rolled back": ({ adapter }, { bobs, carol }) =>
    adapter.transaction(async (transaction) => {
      await transaction.update({ model: member, where: byId(bobs), update: { role: "ghost" } });
      await transaction.delete({ model: "user", where: byId(carol) });
      throw new Error("rolled back");
    }),
} satisfies Record<string, Change>;

export type ChangeName = keyof typeof changes;

/** What the tables say of the scene, by the names of those in it. */
export async function outcomeOf(database: pg.Pool, scene: Scene): Promise<string[]> {
  const { ada, ...ids } = scene;
  const names = Object.entries({ ...ids, ada: ada.userId });
  const nameOf = (id: string) => names.find(([, known]) => known === id)?.[0];
  const values = names.map(([, id]) => id);
  const { rows } = await database.query<{ what: string; one: string; other?: string }>(
    `select role as what, "userId" as one, "organizationId" as other from member
     where "organizationId" = any($1) or "userId" = any($1) and "userId" <> $2
     union all select 'user', id, null from "user" where id = any($1)
     union all select 'organization', id, null from organization where id = any($1)`,
    [values, ada.userId],
  );
  return rows
    .map(({ what, one, other }) => [what, nameOf(one), other ? nameOf(other) : ""].join(" "))
    .sort();
}
