import { beforeAll, beforeEach, expect, test } from "vitest";
import type pg from "pg";
import { deferToEnd } from "./defer-to-end";
import { startDecoding } from "./decoded-changes";
import { openPool } from "./outbox";
import { startEmbeddedPostgres } from "./postgres";

const defer = deferToEnd();

let pool: pg.Pool;
let server: Awaited<ReturnType<typeof startEmbeddedPostgres>>;
let decoding: Awaited<ReturnType<typeof startDecoding>>;

beforeAll(async () => {
  server = await startEmbeddedPostgres(defer);
  pool = openPool(server.url, defer);
  await pool.query(`
    create table "user" (id text primary key, "displayName" text);
    create table member (
      id int primary key, "userId" text references "user" on delete cascade deferrable, role text
    );
    create table other (id int)`);
  decoding = await startDecoding(pool);
});

beforeEach(async () => {
  await pool.query(`delete from "user"; delete from member`);
  await decoding.takeTransactions();
});

const changes = async () => (await decoding.takeTransactions()).map(({ changes }) => changes);

test("has inserts, updates and deletes, with the rows before and after", async () => {
  await pool.query(`insert into "user" values ('ada', 'Ada')`);
  await pool.query(`update "user" set "displayName" = null`);
  await pool.query(`delete from "user"`);
  const ada = { id: "ada", displayName: "Ada" };
  expect(await changes()).toEqual([
    [{ table: "user", new: ada }],
    [{ table: "user", old: ada, new: { ...ada, displayName: null } }],
    [{ table: "user", old: { ...ada, displayName: null } }],
  ]);
});

test("has the key before it was changed, and what a cascade deletes", async () => {
  await pool.query(`
    insert into "user" values ('ada', ''); insert into member values (1, 'ada', 'owner')`);
  await pool.query("update member set id = 2");
  await pool.query(`delete from "user"`);
  const member = { id: 1, userId: "ada", role: "owner" };
  expect((await changes()).slice(1)).toEqual([
    [{ table: "member", old: member, new: { ...member, id: 2 } }],
    [
      { table: "user", old: { id: "ada", displayName: "" } },
      { table: "member", old: { ...member, id: 2 } },
    ],
  ]);
});

test.each([
  ["quotes", `it's "quoted", 'twice'' \\' and \\"`],
  ["newlines and tabs", "one\ntwo\r\n\tthree"],
  ["what looks like a change", `table public.member: DELETE: id[text]:'1'`],
  ["letters beyond ASCII", "Ångström 漢字 🙂"],
])("keeps text with %s as it is", async (_, text) => {
  await pool.query(`insert into "user" values ('ada', $1)`, [text]);
  expect(await changes()).toEqual([[{ table: "user", new: { id: "ada", displayName: text } }]]);
});

test("has a long text that an update left as it was", async () => {
  const long = Array.from({ length: 20_000 }, () => Math.random().toString(36)).join("");
  await pool.query(`insert into "user" values ('ada', $1)`, [long]);
  await pool.query(`update "user" set id = 'bob'`);
  const old = { id: "ada", displayName: long };
  expect((await changes())[1]).toEqual([{ table: "user", old, new: { ...old, id: "bob" } }]);
});

test("has transactions in the order of their commits", async () => {
  const clients = [await pool.connect(), await pool.connect()] as const;
  for (const [index, client] of clients.entries()) {
    await client.query("begin");
    await client.query("insert into member values ($1)", [index]);
  }
  await clients[1].query("insert into member values (10)");
  await clients[0].query("insert into member values (20)");
  await clients[1].query("commit");
  await clients[0].query("commit");
  for (const client of clients) client.release();
  const ids = (await changes()).map((changes) => changes.map((change) => change.new!["id"]));
  expect(ids).toEqual([
    [1, 10],
    [0, 20],
  ]);
});

test("has nothing of what was rolled back, nor of other tables", async () => {
  await pool.query("insert into other values (1)");
  await pool.query("begin; insert into member values (1); rollback");
  await pool.query(`
    begin;
    insert into member values (2); savepoint s;
    insert into member values (3); rollback to s;
    insert into member values (4);
    commit`);
  const ids = (await changes()).map((changes) => changes.map((change) => change.new!["id"]));
  expect(ids).toEqual([[2, 4]]);
});

test("has all of more changes than are read at a time, each once, also after a restart", async () => {
  for (const from of [0, 30_000]) {
    await pool.query("insert into member select generate_series($1::int, $1 + 29999)", [from]);
  }
  expect((await changes()).map((changes) => changes.length)).toEqual([30_000, 30_000]);
  await pool.query("insert into member values (60000)");
  await server.stop();
  await server.startAgain();
  expect(await changes()).toHaveLength(1);
  expect(await changes()).toEqual([]);
});

test("tells when a transaction was committed", async () => {
  const { rows } = await pool.query("insert into member values (1) returning now()");
  const [{ committedAt } = { committedAt: new Date(0) }] = await decoding.takeTransactions();
  expect(committedAt.getTime()).toBeGreaterThanOrEqual(rows[0].now.getTime());
  expect(committedAt.getTime()).toBeLessThanOrEqual(Date.now());
});

test("rejects what it cannot tell row by row", async () => {
  await pool.query("truncate member");
  await expect(changes()).rejects.toThrow("a table was truncated");
});
