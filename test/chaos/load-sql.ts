import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import type { Random } from "./random";

const users = 300;
const organizations = 20;
const isolationLevels = ["read committed", "repeatable read", "serializable"];

/** Some rows of the table, whichever they are. */
const some = (table: string) => `(select id from ${table} order by random() limit $1)`;
const anyOrganization = "(select id from organization order by random() limit 1)";
const anyUser = `(select id from "user" order by random() limit 1)`;
const newUser = (id: string) => `
  insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
  select ${id}, 'It''s "Ada"', gen_random_uuid() || '@example.com', false, now(), now()`;

type Change = (client: pg.ClientBase, howMany: number, role: string) => Promise<unknown>;

/** What is changed past every auth server. A role is given once, so that each event is another. */
const changes: Record<string, Change> = {
  add: (client, howMany, role) =>
    client.query(
      `insert into member (id, "organizationId", "userId", role, "createdAt")
      select gen_random_uuid(), (select id from organization where u.id <> '' order by random() limit 1),
        u.id, $2 || row_number() over (), now()
      from ${some('"user"')} u`,
      [howMany, role],
    ),
  changeRoles: (client, howMany, role) =>
    client.query(`update member set role = $2 where id in ${some("member")}`, [howMany, role]),
  changeNothing: (client, howMany) =>
    client.query(`update member set role = role where id in ${some("member")}`, [howMany]),
  moveToOrganization: (client, howMany, role) =>
    client.query(
      `update member set "organizationId" = ${anyOrganization}, role = $2
      where id in ${some("member")}`,
      [howMany, role],
    ),
  moveToUser: (client, howMany) =>
    client.query(`update member set "userId" = ${anyUser} where id in ${some("member")}`, [
      howMany,
    ]),
  remove: (client, howMany) =>
    client.query(`delete from member where id in ${some("member")}`, [howMany]),
  addAndRemove: async (client, _, role) => {
    const { rows } = await client.query(
      `insert into member (id, "organizationId", "userId", role, "createdAt")
      values (gen_random_uuid(), ${anyOrganization}, ${anyUser}, $1, now()) returning id`,
      [role],
    );
    await client.query("delete from member where id = $1", [rows[0].id]);
  },
  addUsers: (client, howMany) =>
    client.query(`${newUser("gen_random_uuid()")} from generate_series(1, $1::int)`, [howMany]),
  deleteUsers: (client, howMany) =>
    client.query(`delete from "user" where id in ${some('"user"')}`, [Math.ceil(howMany / 5)]),
  deleteUserAndPutBack: async (client, howMany, role) => {
    const { rows } = await client.query(`delete from "user" where id = ${anyUser} returning id`);
    await client.query(newUser("$1"), [rows[0].id]);
    if (howMany % 2 === 0) return;
    await client.query(
      `insert into member (id, "organizationId", "userId", role, "createdAt")
      values (gen_random_uuid(), ${anyOrganization}, $1, $2, now())`,
      [rows[0].id, role],
    );
  },
  deleteOrganization: async (client) => {
    await client.query(`delete from organization where id = ${anyOrganization}`);
    await client.query(newOrganization);
  },
};

const newOrganization = `
  insert into organization (id, name, slug, "createdAt")
  select gen_random_uuid(), 'An organization', gen_random_uuid(), now()`;

/** Whoever the changes need to be there before. */
export async function populate(pool: pg.Pool): Promise<void> {
  await pool.query(`${newUser("gen_random_uuid()")} from generate_series(1, ${users})`);
  await pool.query(`${newOrganization} from generate_series(1, ${organizations})`);
}

/** Makes one transaction after another until the signal. */
export async function loadBySql(pool: pg.Pool, random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // It fails if its connection is killed, or it meets another transaction: then it changed nothing.
    await makeTransaction(pool, random).catch(() => {});
    await sleep(random.between(50, 250));
  }
}

async function makeTransaction(pool: pg.Pool, random: Random): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query(`begin isolation level ${random.pick(isolationLevels)}`);
    for (let step = random.between(1, 4); step > 0; step--) {
      const end = random.pick(["release s", "release s", "rollback to s"]);
      await client.query("savepoint s");
      await makeChange(client, random);
      await client.query(end);
      await client.query("select pg_sleep($1)", [random.between(0, 20) / 1_000]);
    }
    await client.query(random.oneIn(6) ? "rollback" : "commit");
    client.release();
  } catch (error) {
    client.release(true);
    throw error;
  }
}

async function makeChange(client: pg.ClientBase, random: Random): Promise<void> {
  const howMany = random.oneIn(40) ? 500 : random.between(1, 20);
  const role = random.pick(["", "'", '"', "\n", "\\", "é"]) + randomUUID();
  await random.pick(Object.values(changes))(client, howMany, role);
}
