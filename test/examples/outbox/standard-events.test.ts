import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import type pg from "pg";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutbox, createOutboxDatabase, openPool, takeEvents } from "../../fixtures/outbox";
import { createDatabase, startPostgres } from "../../fixtures/postgres";

const defer = deferToEnd();

let pool: pg.Pool;

/** Two organizations, four users, and Ada and Bob as members of both. */
const users = `
  insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
  select id, id, id || '@example.com', false, now(), now()
  from unnest(array['ada', 'bob', 'carol', 'dave']) id;
  insert into organization (id, name, slug, "createdAt")
  select id, id, id, now() from unnest(array['lovelace', 'hopper']) id;
  insert into member (id, "organizationId", "userId", role, "createdAt") values
    ('lovelace-ada', 'lovelace', 'ada', 'owner', now()),
    ('lovelace-bob', 'lovelace', 'bob', 'member', now()),
    ('hopper-ada', 'hopper', 'ada', 'member', now()),
    ('hopper-bob', 'hopper', 'bob', 'owner', now());`;

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

describe("adds to the outbox what a statement changed:", () => {
  const insert = `insert into member (id, "organizationId", "userId", role, "createdAt") values`;
  const carol = "('new', 'lovelace', 'carol', 'member', now())";
  const addedCarol = membership("added", "lovelace", "carol", "member");

  test.each<[string, string, unknown[]]>([
    ["an insert", `${insert} ${carol}`, [addedCarol]],
    [
      "an upsert",
      `${insert} ('lovelace-bob', 'lovelace', 'bob', 'admin', now()), ${carol}
      on conflict (id) do update set role = excluded.role`,
      [membership("updated", "lovelace", "bob", "admin"), addedCarol],
    ],
    [
      "an update of many roles, some to what they are",
      `update member set role = 'member'`,
      [
        membership("updated", "lovelace", "ada", "member"),
        membership("updated", "hopper", "bob", "member"),
      ],
    ],
    ["an update of something else", `update member set "createdAt" = now()`, []],
    ["a delete", `delete from member where "userId" = 'bob'`, removedBob],
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
      [membership("removed", "lovelace", "bob", "member"), addedCarol],
    ],
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
  ])("%s", async (_, sql, events) => {
    await pool.query(sql);
    expect(await takeEvents(pool)).toEqual(events);
  });

  test("an update of something else where roles are null", async () => {
    await pool.query("alter table member alter role drop not null; update member set role = null");
    await takeEvents(pool);
    await pool.query(`update member set "createdAt" = now()`);
    expect(await takeEvents(pool)).toEqual([]);
  });
});

async function inTransaction(...statements: string[]): Promise<void> {
  const client = await pool.connect();
  for (const statement of ["begin", ...statements]) await client.query(statement);
  client.release();
}

describe("with a transaction", () => {
  test("adds nothing that is rolled back", async () => {
    await inTransaction(`delete from "user"`, "rollback");
    expect(await takeEvents(pool)).toEqual([]);
  });

  test("adds a deleted user after the memberships, in whatever order they are deleted", async () => {
    const { rows } = await pool.query(`select conname, pg_get_constraintdef(oid) as definition
      from pg_constraint where conrelid = 'member'::regclass and confrelid = '"user"'::regclass`);
    const [{ conname, definition }] = rows;
    await pool.query(`alter table member drop constraint "${conname}"`);
    await inTransaction(
      `delete from "user" where id = 'bob'`,
      `delete from member where "userId" = 'bob'`,
      "commit",
    );
    await pool.query(`alter table member add constraint "${conname}" ${definition}`);
    expect(await takeEvents(pool)).toEqual([...removedBob, deletion("bob")]);
  });

  test.each([
    ["the same id", "'ada'", []],
    ["another id", "'eve'", [deletion("ada")]],
  ])("of a user who is put back with %s adds what remains true", async (_, id, events) => {
    await pool.query(`delete from member where "userId" = 'ada'`);
    await takeEvents(pool);
    await inTransaction(
      `delete from "user" where id = 'ada'`,
      `insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
      values (${id}, 'Ada', 'ada@example.com', false, now(), now())`,
      "commit",
    );
    expect(await takeEvents(pool)).toEqual(events);
  });
});

/** Its functions, and the triggers and relations that use them. */
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
  test("can be run again, also while members join, and no event is lost or doubled", async () => {
    const rerunning = new AbortController();
    let joined = 0;
    async function keepJoining() {
      for (; !rerunning.signal.aborted; joined++) {
        await pool.query(`insert into member (id, "organizationId", "userId", role, "createdAt")
          values ('${randomUUID()}', 'lovelace', 'carol', 'member', now())`);
      }
    }
    const joins = [keepJoining(), keepJoining()];
    for (let time = 0; time < 10; time++) await createOutbox(pool);
    rerunning.abort();
    await Promise.all(joins);
    expect(joined).toBeGreaterThan(0);
    expect(await takeEvents(pool)).toHaveLength(joined);
  });

  test("can be run again without waiting for whoever is changing members or users", async () => {
    const client = await pool.connect();
    await client.query(`begin; update member set role = 'guest'; delete from "user"`);
    await createOutbox(pool);
    await client.query("rollback");
    client.release();
    expect(await takeEvents(pool)).toEqual([]);
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
    await pool.query("delete from member where id = 'lovelace-ada'");
    expect(await takeEvents(pool)).toHaveLength(1);
  });

  test("can be installed for the first time by several at the same time", async () => {
    const { pool } = await createOutboxDatabase(defer, { outbox: false });
    await Promise.all(Array.from({ length: 5 }, () => createOutbox(pool)));
    await pool.query(users);
    expect(await takeEvents(pool)).toHaveLength(4);
  });

  test("is removed as its head says, while changes are made, of which none fails", async () => {
    const { pool } = await createOutboxDatabase(defer, { outbox: false });
    const before = await objects(pool);
    await createOutbox(pool);
    await pool.query(users);
    const removing = new AbortController();
    /** Locks the tables in either order: the member's before the user's, and the reverse. */
    async function keepChanging(id: string) {
      while (!removing.signal.aborted) {
        await pool.query(`insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
          values ('${id}', '${id}', '${id}', false, now(), now())`);
        await pool.query(`insert into member (id, "organizationId", "userId", role, "createdAt")
          values ('${id}', 'lovelace', '${id}', 'member', now())`);
        await pool.query(`begin; update member set role = 'guest' where id = '${id}';
          delete from "user" where id = '${id}'; commit`);
      }
    }
    const changing = Array.from({ length: 4 }, (_, index) => keepChanging(`user_${index}`));
    const notices: (string | undefined)[] = [];
    const client = await pool.connect();
    client.on("notice", ({ message }) => notices.push(message));
    const file = new URL("standard-events.sql", import.meta.url);
    const [, block] = /^-- +(do \$remove\$[^]*?\$remove\$;)$/m.exec(await readFile(file, "utf8"))!;
    await client.query(block!.replaceAll(/^--/gm, ""));
    client.release();
    removing.abort();
    await Promise.all(changing);

    expect(await objects(pool)).toEqual(before);
    expect(notices.at(-1)).toMatch(/^event_outbox was removed, and \d+ events with it$/);
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
    await asApplication.query(users);
    await asApplication.query(`delete from "user"`);
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

  test("does not write to a temporary table of the same name", async () => {
    await inTransaction(
      "create temporary table event_outbox (event text, payload jsonb) on commit drop",
      "delete from member where id = 'lovelace-bob'",
      "commit",
    );
    expect(await takeEvents(pool)).toEqual([membership("removed", "lovelace", "bob", "member")]);
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
});
