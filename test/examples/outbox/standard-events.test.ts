import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import type pg from "pg";
import { beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutbox, createOutboxDatabase, openPool, takeEvents } from "../../fixtures/outbox";
import { createDatabase, startPostgres } from "../../fixtures/postgres";

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

const membership = (
  action: "added" | "removed" | "updated",
  organizationId: string,
  userId: string,
  role: string,
) => [`organization.member.${action}`, { organizationId, userId, role, action }];
const deletion = (userId: string) => ["user.deleted", { userId, action: "deleted" }];
const removedBob = [
  membership("removed", "lovelace", "bob", "member"),
  membership("removed", "hopper", "bob", "owner"),
];

// What is sent together, the server runs in one transaction.
test.each<[string, string, unknown[]]>([
  [
    "a new membership",
    newMember("lovelace", "carol", "member"),
    [membership("added", "lovelace", "carol", "member")],
  ],
  [
    "an update of many roles, some to what they are",
    `update member set role = 'member'`,
    [
      membership("updated", "lovelace", "ada", "member"),
      membership("updated", "hopper", "bob", "member"),
    ],
  ],
  [
    "a membership that moves to another organization",
    `update member set "organizationId" = 'hopper', role = 'admin' where id = 'lovelace-bob'`,
    [
      membership("removed", "lovelace", "bob", "member"),
      membership("added", "hopper", "bob", "admin"),
    ],
  ],
  [
    "a membership that moves to another user",
    `update member set "userId" = 'carol' where id = 'lovelace-bob'`,
    [
      membership("removed", "lovelace", "bob", "member"),
      membership("added", "lovelace", "carol", "member"),
    ],
  ],
  ["a delete", `delete from member where "userId" = 'bob'`, removedBob],
  [
    "the deletion of an organization",
    `delete from organization where id = 'hopper'`,
    [
      membership("removed", "hopper", "ada", "member"),
      membership("removed", "hopper", "bob", "owner"),
    ],
  ],
  [
    "the deletion of users, with and without memberships",
    `delete from "user" where id in ('bob', 'dave')`,
    [...removedBob, deletion("bob"), deletion("dave")],
  ],
  [
    "the deletion of a user, after memberships that are deleted later",
    `delete from "user" where id = 'dave'; delete from member where "userId" = 'bob'`,
    [...removedBob, deletion("dave")],
  ],
  [
    "not the deletion of a user who is put back",
    `delete from "user" where id = 'dave'; ${newUser("dave")}`,
    [],
  ],
  ["nothing that is rolled back", `begin; delete from "user"; rollback`, []],
])("adds to the outbox %s", async (_, sql, events) => {
  await pool.query(sql);
  expect(await takeEvents(pool)).toEqual(events);
});

test("writes ids as strings where they are numbers", async () => {
  const pool = openPool(await createDatabase(await startPostgres(defer), defer), defer);
  await pool.query(`
    create table "user" (id serial primary key);
    create table member (id serial primary key, "organizationId" integer, role text,
      "userId" integer references "user" on delete cascade)`);
  await createOutbox(pool);
  await pool.query(`
    insert into "user" default values;
    insert into member ("organizationId", "userId", role) values (7, 1, 'member');
    delete from "user"`);
  expect(await takeEvents(pool)).toEqual([
    membership("added", "7", "1", "member"),
    membership("removed", "7", "1", "member"),
    deletion("1"),
  ]);
});

/** The relations, functions and triggers that there are. */
async function objects(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query(`
    select 'relation ' || relname as name from pg_class where relnamespace = 'public'::regnamespace
    union all select 'function ' || proname from pg_proc
    where pronamespace = 'public'::regnamespace
    union all select 'trigger ' || tgname from pg_trigger where not tgisinternal
    order by 1`);
  return rows.map(({ name }) => name);
}

describe("standard-events.sql", () => {
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

  test("removes the notifications of an earlier version when it is run again", async () => {
    const after = await objects(pool);
    await pool.query(`
      create function event_outbox_notify() returns trigger language plpgsql as
        $$ begin perform pg_notify('event_outbox', ''); return null; end; $$;
      create trigger event_outbox_notify after insert on event_outbox
        for each statement execute function event_outbox_notify()`);
    await createOutbox(pool);
    expect(await objects(pool)).toEqual(after);
  });

  test("is removed as its head says, during a transaction, which does not fail", async () => {
    const { pool } = await createOutboxDatabase(defer, { outbox: false });
    const before = await objects(pool);
    await createOutbox(pool);
    await pool.query(users);
    const file = new URL("standard-events.sql", import.meta.url);
    const [, block] = /^-- +(do \$remove\$[^]*?\$remove\$;)$/m.exec(await readFile(file, "utf8"))!;
    const [changing, removing] = [await pool.connect(), await pool.connect()];
    const notices: (string | undefined)[] = [];
    removing.on("notice", ({ message }) => notices.push(message));

    await changing.query("begin; update member set role = 'guest'");
    const removed = removing.query(block!.replaceAll(/^--/gm, ""));
    await vi.waitFor(async () => {
      const waiting = "select from pg_locks where relation = 'member'::regclass and not granted";
      expect((await pool.query(waiting)).rowCount).toBe(1);
    });
    // The removal has locked this table, and waits for the other.
    await changing.query(`delete from "user"; commit`);
    await removed;
    for (const client of [changing, removing]) client.release();
    expect(await objects(pool)).toEqual(before);
    expect(notices.at(-1)).toBe("event_outbox was removed, and 16 events with it");
  });

  test("needs no superuser, and the application's role no right to the outbox", async () => {
    const { databaseUrl, pool: admin } = await createOutboxDatabase(defer, { outbox: false });
    const suffix = randomUUID().replaceAll("-", "");
    const [owner, application] = [`owner_${suffix}`, `application_${suffix}`];
    await admin.query(`
      create role ${owner} login password 'hidden' nosuperuser;
      create role ${application} login password 'hidden' nosuperuser;
      grant create, usage on schema public to ${owner};
      grant select, insert, update, delete on member, "user", organization to ${application};
      alter table member owner to ${owner};
      alter table "user" owner to ${owner}`);
    // Roles that have rights in a database cannot be dropped, nor outlive it.
    defer(() =>
      admin.query(`reassign owned by ${owner} to current_user;
      drop owned by ${owner}, ${application}; drop role ${owner}, ${application}`),
    );
    const as = (role: string) => {
      const url = new URL(databaseUrl);
      [url.username, url.password] = [role, "hidden"];
      return openPool(url.href, defer);
    };

    await createOutbox(as(owner));
    const asApplication = as(application);
    await asApplication.query(`${users} delete from "user"`);
    expect(await takeEvents(admin)).toHaveLength(12);
    for (const forbidden of [
      "select from event_outbox",
      "insert into event_outbox (event, payload) values ('a', '{}')",
      `create temporary table own (id text);
      create trigger t after delete on own for each row execute function event_outbox_user()`,
    ]) {
      await expect(asApplication.query(forbidden)).rejects.toThrow("permission denied");
    }
  });
});
