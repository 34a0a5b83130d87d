import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type pg from "pg";
import { beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import {
  createOutbox,
  createOutboxDatabase,
  openPool,
  takeEvents,
  untilAllDone,
} from "../../fixtures/outbox";
import { createDatabase, startPostgres } from "../../fixtures/postgres";
import { publish } from "./publish";
import { startWorker } from "./worker";

const defer = deferToEnd();

let pool: pg.Pool;

const newUser = (id: string) => `
  insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
  values ('${id}', '${id}', '${id}@example.com', false, now(), now());`;
const newMember = (organizationId: string, userId: string, role: string) => `
  insert into member (id, "organizationId", "userId", role, "createdAt")
  values ('${organizationId}-${userId}', '${organizationId}', '${userId}', '${role}', now());`;
/** Two organizations, four users, and Ada and Bob as members of both. */
const users = `
  insert into organization (id, name, slug, "createdAt")
  values ('lovelace', 'Lovelace', 'lovelace', now()), ('hopper', 'Hopper', 'hopper', now());
  ${["ada", "bob", "carol", "dave"].map(newUser).join("")}
  ${newMember("lovelace", "ada", "owner")} ${newMember("lovelace", "bob", "member")}
  ${newMember("hopper", "ada", "member")} ${newMember("hopper", "bob", "owner")}`;

beforeAll(async () => {
  ({ pool } = await createOutboxDatabase(defer));
});

beforeEach(async () => {
  await pool.query(`delete from "user"; delete from organization; ${users}`);
  await takeEvents(pool);
});

/** An event of a member as text: the action, the organization, the user and the role. */
function event(text: string): [string, unknown] {
  const [action, organizationId, userId, role] = text.split(" ");
  return [`organization.member.${action}`, { organizationId, userId, role, action }];
}
const deletion = (userId: string) => ["user.deleted", { userId, action: "deleted" }];
const removedBob = ["removed lovelace bob member", "removed hopper bob owner"];

// What is sent together, the server runs in one transaction.
test.each<[string, string, string[], string[]?]>([
  ["a new membership", newMember("lovelace", "carol", "member"), ["added lovelace carol member"]],
  [
    "an update of many roles, some to what they are",
    `update member set role = 'member'`,
    ["updated lovelace ada member", "updated hopper bob member"],
  ],
  [
    "a membership that moves to another organization",
    `update member set "organizationId" = 'hopper', role = 'admin' where id = 'lovelace-bob'`,
    ["removed lovelace bob member", "added hopper bob admin"],
  ],
  [
    "a membership that moves to another user",
    `update member set "userId" = 'carol' where id = 'lovelace-bob'`,
    ["removed lovelace bob member", "added lovelace carol member"],
  ],
  ["a delete", `delete from member where "userId" = 'bob'`, removedBob],
  [
    "the deletion of an organization",
    `delete from organization where id = 'hopper'`,
    ["removed hopper ada member", "removed hopper bob owner"],
  ],
  [
    "the deletion of users, with and without memberships",
    `delete from "user" where id in ('bob', 'dave')`,
    removedBob,
    ["bob", "dave"],
  ],
  [
    "the deletion of a user, after memberships that are deleted later",
    `delete from "user" where id = 'dave'; delete from member where "userId" = 'bob'`,
    removedBob,
    ["dave"],
  ],
  [
    "not the deletion of a user who is put back",
    `delete from "user" where id = 'dave'; ${newUser("dave")}`,
    [],
  ],
  ["nothing that is rolled back", `begin; delete from "user"; rollback`, []],
])("adds to the outbox %s", async (_, sql, ofMembers, deleted = []) => {
  await pool.query(sql);
  expect(await takeEvents(pool)).toEqual([...ofMembers.map(event), ...deleted.map(deletion)]);
});

/** A database with these statements, but without an outbox. */
async function databaseWith(sql: string): Promise<pg.Pool> {
  const pool = openPool(await createDatabase(await startPostgres(defer), defer), defer);
  await pool.query(sql);
  return pool;
}

const tables = (organizationId: string, userId: string) => `
  create table "user" (id serial primary key);
  create table member (id serial primary key, "${organizationId}" integer, role text,
    "${userId}" integer references "user" on delete cascade);`;
const joinAsUser1 = (role: string) =>
  `insert into "user" default values; insert into member values (1, 7, ${role}, 1)`;

test.each([
  ["Kysely and Prisma", "organizationId", "userId"],
  ["Drizzle", "organization_id", "user_id"],
])("reads the columns that Better Auth names for %s, also numbers", async (_, ...names) => {
  const pool = await databaseWith(tables(...names));
  await createOutbox(pool);
  await pool.query(`${joinAsUser1("null")}; update member set role = ''; delete from "user"`);
  expect(await takeEvents(pool)).toEqual([
    event("added 7 1 "),
    event("removed 7 1 "),
    deletion("1"),
  ]);
});

test("warns of a column that was renamed later, and fails no change", async () => {
  const pool = await databaseWith(tables("organizationId", "userId"));
  await createOutbox(pool);
  const client = await pool.connect();
  const warned = once(client, "notice");
  await client.query(`alter table member rename "userId" to person; ${joinAsUser1("'member'")}`);
  client.release();
  const [{ severity, message }] = await warned;
  expect([severity, message]).toEqual([
    "WARNING",
    "public.member has other columns now: run standard-events.sql again",
  ]);
});

/** The relations, functions, triggers and schemas that there are. */
async function objects(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query(`
    select 'relation ' || oid::regclass as name from pg_class where relkind in ('r', 'S')
    union all select 'function ' || oid::regproc from pg_proc
    union all select 'trigger ' || tgname from pg_trigger where not tgisinternal
    union all select 'schema ' || nspname from pg_namespace where nspname !~ '^pg_t'
    order by 1`);
  return rows.map(({ name }) => name);
}

/** The parts of the file's head that match. */
async function headLines(pattern: RegExp): Promise<string[]> {
  const text = await readFile(new URL("standard-events.sql", import.meta.url), "utf8");
  return [...text.matchAll(pattern)].map(([, line]) => line!);
}

describe("standard-events.sql", () => {
  test.each([
    ["public.member", "role", tables("organizationId", "userId").replace("member", "members")],
    ["public.member", "userId or user_id", tables("organizationId", "person")],
    ['public."user"', "id", `create table member ()`],
  ])("installs nothing without a table %s with a column %s", async (table, column, sql) => {
    const pool = await databaseWith(sql);
    const before = await objects(pool);
    const error = `there is no table ${table} with a column ${column}`;
    await expect(createOutbox(pool)).rejects.toThrow(error);
    expect(await objects(pool)).toEqual(before);
  });

  test("changes nothing in a schema of that name that is somebody else's", async () => {
    const theirs = "create schema event_outbox create table event (position bigint, id text);";
    const pool = await databaseWith(theirs + tables("organizationId", "userId"));
    const before = await objects(pool);
    await expect(createOutbox(pool)).rejects.toThrow('column "name" does not exist');
    expect(await objects(pool)).toEqual(before);
  });

  test("can be installed by several at the same time", async () => {
    const { pool } = await createOutboxDatabase(defer, { outbox: false });
    await Promise.all(Array.from({ length: 5 }, () => createOutbox(pool)));
    await pool.query(users);
    expect(await takeEvents(pool)).toHaveLength(4);
  });

  test("can be run again without waiting for whoever is changing members or users", async () => {
    const client = await pool.connect();
    await client.query(`begin; update member set role = 'guest'; delete from "user"`);
    await createOutbox(pool);
    await client.query("commit");
    client.release();
    expect(await takeEvents(pool)).toHaveLength(12);
  });

  test("is installed without a notice, and removed as its head says, during a transaction that does not fail", async () => {
    const { pool } = await createOutboxDatabase(defer, { outbox: false });
    await pool.query(users);
    const before = await objects(pool);
    const [changing, installing] = [await pool.connect(), await pool.connect()];
    const notices: unknown[] = [];
    installing.on("notice", (notice) => notices.push(notice));

    await changing.query("begin; update member set role = 'guest'");
    const installed = createOutbox(installing);
    await vi.waitFor(async () => {
      const waiting = "select from pg_locks where relation = 'member'::regclass and not granted";
      expect((await pool.query(waiting)).rowCount).toBe(1);
    });
    // The installation has locked this table, and waits for the other.
    await changing.query(`delete from "user" where id = 'dave'; commit`);
    await installed;
    expect(notices).toEqual([]);

    const [removal] = await headLines(/^-- +(set lock_timeout.*; drop .*)$/gm);
    await changing.query("begin; update member set role = 'admin'");
    await expect(installing.query(removal!)).rejects.toThrow("lock timeout");
    await changing.query(`delete from "user"; commit`);
    await installing.query(removal!);
    for (const client of [changing, installing]) client.release();
    expect(await objects(pool)).toEqual(before);
  });

  test("adds what its owner wrote, whatever functions the one who makes the change has", async () => {
    const client = await pool.connect();
    await client.query(`
      create schema own;
      create function own.to_jsonb(anyelement) returns jsonb language sql as $$ select '{}'::jsonb $$;
      create function own.jsonb_build_object(text, text, text, text) returns jsonb language sql as
        $$ select '{}'::jsonb $$;
      set search_path = own, pg_catalog, public;
      delete from "user" where id = 'bob'`);
    client.release(true);
    expect(await takeEvents(pool)).toEqual([...removedBob.map(event), deletion("bob")]);
  });

  test("gives three roles the rights that its head says, whatever the default privileges are", async () => {
    const { databaseUrl, pool: admin } = await createOutboxDatabase(defer, { outbox: false });
    const database = new URL(databaseUrl).pathname.slice(1);
    const suffix = randomUUID().replaceAll("-", "");
    const roles = ["owner", "application", "worker"].map((role) => `${role}_${suffix}`);
    // Roles that have rights in a database cannot be dropped, nor outlive it.
    const drop = roles.map((role) => `drop owned by ${role} cascade; drop role ${role};`);
    defer(() => admin.query(drop.join(" ")));
    for (const role of roles) await admin.query(`create role ${role} login password 'hidden'`);
    const [owner, application, worker] = roles.map((role) => {
      const url = new URL(databaseUrl);
      [url.username, url.password] = [role, "hidden"];
      return url.href;
    }) as [string, string, string];
    const grant = async (role: string) => {
      for (const line of await headLines(new RegExp(`^-- +(grant .* to ${role});$`, "gm"))) {
        await admin.query(`${line}_${suffix}`.replace("database app", `database ${database}`));
      }
    };
    const grantsAreForOnce = (role: string) =>
      admin.query(`revoke create on database ${database} from ${role}_${suffix}`);
    await admin.query(`
      grant select, insert, update, delete on member, "user", organization to application_${suffix};
      alter table member owner to owner_${suffix}; alter table "user" owner to owner_${suffix}`);
    for (const kind of ["schemas", "tables", "sequences", "functions"]) {
      const all = `grant all on ${kind} to application_${suffix}`;
      await admin.query(`alter default privileges for role owner_${suffix} ${all}`);
    }

    await grant("owner");
    await createOutbox(openPool(owner, defer));
    await grantsAreForOnce("owner");
    await createOutbox(openPool(owner, defer));
    const asApplication = openPool(application, defer);
    await asApplication.query(`${users} delete from "user"`);
    expect(await takeEvents(admin)).toHaveLength(12);
    const rights = await admin.query(`
      select acl::text from (
        select nspacl from pg_namespace where nspname = 'event_outbox'
        union all select relacl from pg_class
        where relnamespace = 'event_outbox'::regnamespace and relkind in ('r', 'S')
        union all select proacl from pg_proc where pronamespace = 'event_outbox'::regnamespace
      ) as objects (acl)`);
    expect(rights.rows).toHaveLength(5);
    for (const { acl } of rights.rows) expect(acl).toMatch(/^{owner_\w+=\w+\/owner_\w+}$/);

    await grant("application");
    await grant("worker");
    const received: string[] = [];
    for (const userId of ["ada", "bob"]) {
      await publish(asApplication, "user.deleted", { userId, action: "deleted" });
      const handlers = { "user.deleted": () => received.push(userId) };
      const { stop } = await startWorker({ databaseUrl: worker, queues: { one: handlers } });
      await untilAllDone(admin);
      await stop();
      await grantsAreForOnce("worker");
    }
    expect(received).toEqual(["ada", "bob"]);
  });
});
