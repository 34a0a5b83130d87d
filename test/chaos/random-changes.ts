import { randomInt, randomUUID } from "node:crypto";
import pg from "pg";

export const pick = <Item>(items: readonly Item[]): Item => items[randomInt(items.length)]!;

/** Ids of rows of the table, whichever they are. */
const some = (table: string, count = 1) =>
  `select id from ${table} order by random() limit ${count}`;
const newOrganizations = (count: number) => `
  insert into organization (id, name, slug, "createdAt")
  select gen_random_uuid(), 'An organization', gen_random_uuid(), now()
  from generate_series(1, ${count});`;
const newUsers = (count: number, id = "gen_random_uuid()") => `
  insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
  select ${id}, 'It''s "Ada"', gen_random_uuid() || '@example.com', false, now(), now()
  from generate_series(1, ${count});`;
const newMembers = (users: string, role: string) => `
  insert into member (id, "organizationId", "userId", role, "createdAt")
  select gen_random_uuid(), (${some("organization")}), id, ${role}, now() from (${users}) as users;`;

/** SQL past every auth server. Each role is unique, so that each event is another. */
const changes: ((count: number, role: string) => string)[] = [
  (count, role) => newMembers(some('"user"', count), `${role} || row_number() over ()`),
  (count, role) => `update member set role = ${role} where id in (${some("member", count)});`,
  (count) => `update member set role = role where id in (${some("member", count)});`,
  (count, role) => `
    update member set "organizationId" = (${some("organization")}), role = ${role}
    where id in (${some("member", count)});`,
  (count) => `
    update member set "userId" = (${some('"user"')}) where id in (${some("member", count)});`,
  (count) => `delete from member where id in (${some("member", count)});`,
  (_, role) => `${newMembers(some('"user"'), role)} delete from member where role = ${role};`,
  (count) => newUsers(count),
  (count) => `delete from "user" where id in (${some('"user"', Math.ceil(count / 5))});`,
  // A user who is put back is not deleted.
  () => `do $$ declare kept text := (${some('"user"')}); begin
    delete from "user" where id = kept; ${newUsers(1, "kept")} end; $$;`,
  () => `delete from organization where id = (${some("organization")}); ${newOrganizations(1)}`,
];

/** Adds the rows that the changes need. */
export async function populate(pool: pg.Pool): Promise<void> {
  await pool.query(newUsers(300) + newOrganizations(20));
}

/** Makes a transaction of random changes. Fails if its connection is killed, or it is aborted. */
export async function changeBySql(pool: pg.Pool): Promise<void> {
  const level = pick(["read committed", "repeatable read", "serializable"]);
  const steps = Array.from({ length: randomInt(1, 5) }, () => {
    const count = randomInt(40) === 0 ? 500 : randomInt(1, 21);
    const role = pg.escapeLiteral(pick(["", "'", '"', "\n", "\\", "é"]) + randomUUID());
    const end = pick(["release s", "release s", "rollback to s"]);
    const pause = `select pg_sleep(${randomInt(21) / 1_000});`;
    return `savepoint s; ${pick(changes)(count, role)} ${end}; ${pause}`;
  });
  const end = randomInt(6) === 0 ? "rollback" : "commit";
  await pool.query(`begin isolation level ${level}; ${steps.join(" ")} ${end}`);
}
