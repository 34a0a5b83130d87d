import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import pg from "pg";
import { beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutbox, createOutboxDatabase, openPool, takeEvents } from "../../fixtures/outbox";
import { createDatabase, startEmbeddedPostgres, startPostgres } from "../../fixtures/postgres";

const defer = deferToEnd();

let databaseUrl: string;
let pool: pg.Pool;

/** Two organizations, four people, and Ada and Bob as members of both. */
const people = `
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
  ({ databaseUrl, pool } = await createOutboxDatabase(defer));
});

beforeEach(async () => {
  await pool.query(`delete from "user"; delete from organization; ${people}`);
  await takeEvents(pool);
});

const membership = (
  organizationId: string,
  userId: string,
  role: string,
  action: "added" | "removed" | "updated",
) => [`organization.member.${action}`, { organizationId, userId, role, action }];
const deletion = (userId: string) => ["user.deleted", { userId, action: "deleted" }];

describe("adds to the outbox what a statement changed", () => {
  const row = (organization: string, user: string, role = "member") =>
    `('${organization}-${user}', '${organization}', '${user}', '${role}', now())`;
  const insert = `insert into member (id, "organizationId", "userId", role, "createdAt") values`;

  test.each<[string, string, unknown[]]>([
    [
      "an insert",
      `${insert} ${row("lovelace", "carol")}`,
      [membership("lovelace", "carol", "member", "added")],
    ],
    [
      "an insert of many rows",
      `${insert} ${row("lovelace", "carol")}, ${row("hopper", "dave")}`,
      [
        membership("lovelace", "carol", "member", "added"),
        membership("hopper", "dave", "member", "added"),
      ],
    ],
    [
      "an update of the role",
      `update member set role = 'admin' where id = 'lovelace-bob'`,
      [membership("lovelace", "bob", "admin", "updated")],
    ],
    [
      "an update of many roles to one",
      `update member set role = 'member'`,
      [
        membership("lovelace", "ada", "member", "updated"),
        membership("hopper", "bob", "member", "updated"),
      ],
    ],
    ["an update to the same role", `update member set role = role`, []],
    ["an update of something else", `update member set "createdAt" = now()`, []],
    [
      "a delete",
      `delete from member where id = 'lovelace-bob'`,
      [membership("lovelace", "bob", "member", "removed")],
    ],
    ["a delete of nothing", `delete from member where id = 'nobody'`, []],
    [
      "a membership that moves to another organization",
      `update member set "organizationId" = 'hopper', role = 'admin' where id = 'lovelace-bob'`,
      [
        membership("lovelace", "bob", "member", "removed"),
        membership("hopper", "bob", "admin", "added"),
      ],
    ],
    [
      "a membership that moves to another user",
      `update member set "userId" = 'carol' where id = 'lovelace-bob'`,
      [
        membership("lovelace", "bob", "member", "removed"),
        membership("lovelace", "carol", "member", "added"),
      ],
    ],
    [
      "an upsert",
      `${insert} ${row("lovelace", "bob", "admin")}, ${row("lovelace", "carol")}
      on conflict (id) do update set role = excluded.role`,
      [
        membership("lovelace", "bob", "admin", "updated"),
        membership("lovelace", "carol", "member", "added"),
      ],
    ],
    [
      "an insert that conflicts and does nothing",
      `${insert} ${row("lovelace", "bob", "admin")} on conflict do nothing`,
      [],
    ],
    [
      "a merge",
      `merge into member using (values ('ada'), ('carol')) people (id)
      on "organizationId" = 'lovelace' and "userId" = people.id
      when matched then delete
      when not matched then insert (id, "organizationId", "userId", role, "createdAt")
        values ('new', 'lovelace', people.id, 'member', now())`,
      [
        membership("lovelace", "ada", "owner", "removed"),
        membership("lovelace", "carol", "member", "added"),
      ],
    ],
    [
      "a deletion and an insert in one statement",
      `with gone as (delete from member where "userId" = 'bob' returning *)
      insert into member select id || '2', "organizationId", 'carol', role, now() from gone`,
      [
        membership("lovelace", "bob", "member", "removed"),
        membership("lovelace", "carol", "member", "added"),
        membership("hopper", "bob", "owner", "removed"),
        membership("hopper", "carol", "owner", "added"),
      ],
    ],
    [
      "the deletion of an organization",
      `delete from organization where id = 'hopper'`,
      [
        membership("hopper", "ada", "member", "removed"),
        membership("hopper", "bob", "owner", "removed"),
      ],
    ],
    [
      "the deletion of a user without memberships",
      `delete from "user" where id = 'dave'`,
      [deletion("dave")],
    ],
    [
      "the deletion of a user",
      `delete from "user" where id = 'bob'`,
      [
        membership("lovelace", "bob", "member", "removed"),
        membership("hopper", "bob", "owner", "removed"),
        deletion("bob"),
      ],
    ],
    [
      "the deletion of two users",
      `delete from "user" where id in ('ada', 'bob')`,
      [
        membership("lovelace", "ada", "owner", "removed"),
        membership("hopper", "ada", "member", "removed"),
        membership("lovelace", "bob", "member", "removed"),
        membership("hopper", "bob", "owner", "removed"),
        deletion("ada"),
        deletion("bob"),
      ],
    ],
  ])("%s", async (_, sql, events) => {
    await pool.query(sql);
    expect(await takeEvents(pool)).toEqual(events);
  });

  test("a copy", async () => {
    await copy(pool, "copy member from stdin", "new\tlovelace\tcarol\tmember\tnow\n");
    expect(await takeEvents(pool)).toEqual([membership("lovelace", "carol", "member", "added")]);
  });
});

describe("with a transaction", () => {
  async function inTransaction(...statements: string[]): Promise<void> {
    const client = await pool.connect();
    try {
      for (const statement of ["begin", ...statements]) await client.query(statement);
    } finally {
      client.release();
    }
  }

  test("adds nothing that is rolled back", async () => {
    await inTransaction(`delete from "user"`, "rollback");
    expect(await takeEvents(pool)).toEqual([]);
  });

  test("adds nothing that is rolled back to a savepoint", async () => {
    await inTransaction(
      `delete from "user" where id = 'ada'`,
      "savepoint before_bob",
      `delete from "user" where id = 'bob'`,
      "rollback to before_bob",
      "commit",
    );
    expect((await takeEvents(pool)).at(-1)).toEqual(deletion("ada"));
    expect(await takeEvents(pool)).toEqual([]);
  });

  test("tells of a deleted user after the memberships, in whatever order they are deleted", async () => {
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

    expect(await takeEvents(pool)).toEqual([
      membership("lovelace", "bob", "member", "removed"),
      membership("hopper", "bob", "owner", "removed"),
      deletion("bob"),
    ]);
  });

  test.each([
    ["the same id", "'ada'", []],
    ["another id", "'eve'", [deletion("ada")]],
  ])("tells of a user who is put back with %s only if nobody is there", async (_, id, events) => {
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

  test("wakes the relay once, at the commit", async () => {
    const listener = new pg.Client(databaseUrl);
    const heard: string[] = [];
    listener.on("notification", ({ channel }) => heard.push(channel));
    await listener.connect();
    await listener.query("listen event_outbox");

    await inTransaction("update member set role = 'a'", "update member set role = 'b'", "commit");
    await inTransaction("update member set role = 'c'", "rollback");
    await listener.query("select 1");
    await listener.end();

    expect(heard).toEqual(["event_outbox"]);
  });
});

describe("standard-events.sql", () => {
  test("can be run again, also while members come, and no event is lost or doubled", async () => {
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

    await pool.query(`delete from "user" where id = 'carol'`);
    const events = (await takeEvents(pool)).map(([event]) => event);
    const count = (name: string) => events.filter((event) => event === name).length;
    expect(joined).toBeGreaterThan(0);
    expect(count("organization.member.added")).toBe(joined);
    expect(count("organization.member.removed")).toBe(joined);
    expect(count("user.deleted")).toBe(1);
  });

  test("can be run again without waiting for whoever is changing members or users", async () => {
    const client = await pool.connect();
    await client.query(`begin; update member set role = 'guest'; delete from "user"`);
    await createOutbox(pool);
    await client.query("rollback");
    client.release();
    expect(await takeEvents(pool)).toEqual([]);
  });

  test("can be installed for the first time by several at once", async () => {
    for (let time = 0; time < 5; time++) {
      const { pool } = await createOutboxDatabase(defer, { outbox: false });
      await Promise.all(Array.from({ length: 5 }, () => createOutbox(pool)));
      await pool.query(people);
      expect(await takeEvents(pool)).toHaveLength(4);
    }
  });

  /** The statement in its head that removes it. */
  async function removal(): Promise<string> {
    const sql = await readFile(new URL("standard-events.sql", import.meta.url), "utf8");
    const [, block] = /^-- +(do \$remove\$[^]*?\$remove\$;)$/m.exec(sql)!;
    return block!.replaceAll(/^--/gm, "");
  }

  test("is removed as its head says, which leaves nothing behind, and says what is lost", async () => {
    const { pool } = await createOutboxDatabase(defer, { outbox: false });
    const objects = async () => {
      const { rows } = await pool.query(`
        select 'relation' as kind, relname::text as name from pg_class
        where relnamespace = 'public'::regnamespace
        union all select 'function', proname from pg_proc where pronamespace = 'public'::regnamespace
        union all select 'trigger', tgname from pg_trigger where not tgisinternal
        order by 1, 2`);
      return rows;
    };
    const before = await objects();
    await createOutbox(pool);
    expect(await objects()).not.toEqual(before);
    await pool.query(people);

    const client = await pool.connect();
    const notices: (string | undefined)[] = [];
    client.on("notice", ({ message }) => notices.push(message));
    await client.query(await removal());
    client.release();

    expect(await objects()).toEqual(before);
    expect(notices.at(-1)).toBe("event_outbox is gone, and 4 events with it");
  });

  test("is removed under load, in which no change fails", async () => {
    const { pool } = await createOutboxDatabase(defer);
    await pool.query(`insert into organization (id, name, slug, "createdAt")
      values ('lovelace', 'l', 'l', now())`);
    const removing = new AbortController();
    let changes = 0;
    /** Locks the tables in either order: the member's before the user's, and the other way round. */
    async function keepChanging(id: string) {
      while (!removing.signal.aborted) {
        await pool.query(`insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
          values ('${id}', '${id}', '${id}', false, now(), now())`);
        await pool.query(`insert into member (id, "organizationId", "userId", role, "createdAt")
          values ('${id}', 'lovelace', '${id}', 'member', now())`);
        const client = await pool.connect();
        await client.query("begin");
        await client.query(`update member set role = 'guest' where id = '${id}'`);
        await client.query(`delete from "user" where id = '${id}'`);
        await client.query("commit");
        client.release();
        changes++;
      }
    }
    const changing = Array.from({ length: 4 }, (_, index) => keepChanging(`user_${index}`));
    const statement = await removal();
    for (let time = 0; time < 3; time++) {
      if (time > 0) await createOutbox(pool);
      await pool.query(statement);
    }
    const before = changes;
    await vi.waitFor(() => expect(changes).toBeGreaterThan(before + 12), 10_000);
    removing.abort();
    await Promise.all(changing);
  });

  test("lets a prepared transaction change members once the relay is to poll", async () => {
    const postgres = await startEmbeddedPostgres(defer);
    const { pool } = await createOutboxDatabase(defer, { serverUrl: postgres.url });
    await pool.query("alter system set max_prepared_transactions = 1");
    await postgres.stop();
    await postgres.startAgain();
    await pool.query(people);
    await takeEvents(pool);
    const prepare = async () => {
      const client = await pool.connect();
      await client.query("begin");
      await client.query("update member set role = 'guest'");
      await client.query("prepare transaction 'two'").finally(() => client.release());
    };
    await expect(prepare()).rejects.toThrow("cannot PREPARE a transaction that has executed");

    const sql = await readFile(new URL("standard-events.sql", import.meta.url), "utf8");
    const [, disable] = /^-- +(alter table .* disable trigger .*;)$/m.exec(sql)!;
    await pool.query(disable!);
    await prepare();
    expect(await takeEvents(pool)).toEqual([]);
    await pool.query("commit prepared 'two'");
    expect(await takeEvents(pool)).toHaveLength(4);
  });

  test("needs no superuser, and the application's role no right to the outbox", async () => {
    const { databaseUrl, pool: admin } = await createOutboxDatabase(defer, { outbox: false });
    const suffix = randomUUID().replaceAll("-", "");
    const [owner, application] = [`owner_${suffix}`, `application_${suffix}`];
    await admin.query(`
      create role ${owner} login password 'owner' nosuperuser;
      create role ${application} login password 'application' nosuperuser;
      grant create, usage on schema public to ${owner};
      grant select, insert, update, delete on member, "user", organization to ${application};
      alter table member owner to ${owner};
      alter table "user" owner to ${owner}`);
    // Before its database goes, its roles' rights in it have to.
    defer(() =>
      admin.query(`reassign owned by ${owner} to current_user;
      drop owned by ${owner}, ${application}; drop role ${owner}, ${application}`),
    );
    const as = (role: string, password: string) => {
      const url = new URL(databaseUrl);
      url.username = role;
      url.password = password;
      return openPool(url.href, defer);
    };

    await createOutbox(as(owner, "owner"));
    const asApplication = as(application, "application");
    await asApplication.query(people);
    await asApplication.query(`delete from "user"`);

    await expect(asApplication.query("select from event_outbox")).rejects.toThrow("permission");
    await expect(
      asApplication.query("insert into event_outbox (event, payload) values ('a', '{}')"),
    ).rejects.toThrow("permission");
    await asApplication.query("create temporary table own (id text)");
    await expect(
      asApplication.query(
        "create trigger t after delete on own for each row execute function event_outbox_user()",
      ),
    ).rejects.toThrow("permission");
    const events = (await takeEvents(admin)).map(([event]) => event);
    expect(events.filter((event) => event === "organization.member.added")).toHaveLength(4);
    expect(events.filter((event) => event === "organization.member.removed")).toHaveLength(4);
    expect(events.filter((event) => event === "user.deleted")).toHaveLength(4);
  });

  test("is not fooled by a table of the same name that somebody made for themselves", async () => {
    const client = await pool.connect();
    await client.query("create temporary table event_outbox (event text, payload jsonb)");
    await client.query("delete from member where id = 'lovelace-bob'");
    await client.query("drop table pg_temp.event_outbox");
    client.release();
    expect(await takeEvents(pool)).toEqual([membership("lovelace", "bob", "member", "removed")]);
  });

  test("tells ids as strings where they are numbers", async () => {
    const databaseUrl = await createDatabase(await startPostgres(defer), defer);
    const pool = openPool(databaseUrl, defer);
    await pool.query(`
      create table "user" (id serial primary key);
      create table member (
        id serial primary key,
        "organizationId" integer,
        "userId" integer references "user" on delete cascade,
        role text
      )`);
    await createOutbox(pool);
    await pool.query(`
      insert into "user" default values;
      insert into member ("organizationId", "userId", role) values (7, 1, 'member');
      delete from "user"`);
    expect(await takeEvents(pool)).toEqual([
      membership("7", "1", "member", "added"),
      membership("7", "1", "member", "removed"),
      deletion("1"),
    ]);
  });
});

test("what the triggers cost, printed", async () => {
  const median = (times: number[]) => times.sort((a, b) => a - b)[times.length >> 1]!;
  async function inserting(rows: number): Promise<number> {
    const insert = `insert into member (id, "organizationId", "userId", role, "createdAt")
      select gen_random_uuid(), 'lovelace', 'carol', 'member', now() from generate_series(1, $1::int)`;
    const start = performance.now();
    await pool.query(insert, [rows]);
    return performance.now() - start;
  }
  for (const [rows, times] of [
    [1, 300],
    [5_000, 7],
  ] as const) {
    const measured: Record<string, number[]> = { disable: [], enable: [] };
    for (let time = 0; time < times; time++) {
      for (const state of ["disable", "enable"]) {
        await pool.query(`alter table member ${state} trigger event_outbox_member`);
        measured[state]!.push(await inserting(rows));
      }
    }
    const [without, withTriggers] = [median(measured["disable"]!), median(measured["enable"]!)];
    console.log(
      `inserting ${rows} members by one statement: ${without.toFixed(2)} ms without triggers, ` +
        `${withTriggers.toFixed(2)} ms with`,
    );
    if (rows > 1) {
      const size = "pg_total_relation_size('event_outbox') / count(*) as bytes";
      const { rows: sizes } = await pool.query(`select ${size} from event_outbox`);
      console.log(`an event in the outbox takes ${sizes[0].bytes} bytes`);
    }
    expect(await takeEvents(pool)).toHaveLength(rows * times);
  }
});

/** Sends `rows` to a `copy … from stdin`, which `pg` leaves to others. */
async function copy(pool: pg.Pool, statement: string, rows: string): Promise<void> {
  const client = await pool.connect();
  await new Promise<void>((resolve, reject) => {
    client.query({
      submit: (connection: CopyConnection) => connection.query(statement),
      handleCopyInResponse(connection: CopyConnection) {
        connection.sendCopyFromChunk(Buffer.from(rows));
        connection.endCopyFrom();
      },
      handleCommandComplete() {},
      handleReadyForQuery: resolve,
      handleError: reject,
    } as unknown as pg.Submittable);
  });
  client.release();
}

interface CopyConnection {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}
