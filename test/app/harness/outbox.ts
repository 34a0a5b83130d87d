import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Events } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import type pg from "pg";
import { auditLog } from "../../examples/audit-log";
import { seatSync } from "../../examples/seat-sync";
import { createAuth } from "./auth-server";
import type { Defer } from "./deferred";
import { teamPlan } from "./plans";
import { createDatabase, createPool, startPostgres } from "./postgres";
import { stripeClient } from "./stripe-server";

const standardEventsSql = new URL("../../examples/outbox/standard-events.sql", import.meta.url);

/** Runs `standard-events.sql`. */
export async function createOutbox(pool: pg.Pool): Promise<void> {
  await pool.query(await readFile(standardEventsSql, "utf8"));
}

/** The tables of seat sync and the audit log, without their handlers. */
export const tables: BetterAuthPlugin[] = [
  { id: "seat-sync", schema: seatSync({ stripe: stripeClient(1), plans: [teamPlan] }).schema },
  { id: "audit-log", schema: auditLog().schema },
];

/** A database with the tables of the demo's app, and with the outbox unless it is to come later. */
export async function createOutboxDatabase(
  defer: Defer,
  { serverUrl, outbox = true }: { serverUrl?: string; outbox?: boolean } = {},
) {
  const databaseUrl = await createDatabase(serverUrl ?? (await startPostgres(defer)), defer);
  const { auth, pool, close } = createAuth({ databaseUrl, plugins: tables });
  defer(close);
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();
  if (outbox) await createOutbox(pool);
  return { databaseUrl, auth, pool };
}

/** Takes all events that are in the outbox, in the order of their ids. */
export async function takeEvents(pool: pg.Pool): Promise<[string, unknown][]> {
  const { rows } = await pool.query(`
    with taken as (delete from event_outbox returning *) select * from taken order by id`);
  return rows.map(({ event, payload }) => [event, payload]);
}

export const memberEvent = (userId: string): Events["organization.member.added"] => ({
  organizationId: "org_1",
  userId,
  role: "member",
  action: "added",
});

/** Adds so many events, of `user_1` and so on, by one statement. */
export async function addMemberEvents(pool: pg.Pool, count: number): Promise<void> {
  await pool.query(
    `insert into event_outbox (event, payload)
    select 'organization.member.added', $1::jsonb || jsonb_build_object('userId', 'user_' || n)
    from generate_series(1, $2::int) n`,
    [JSON.stringify(memberEvent("")), count],
  );
}

/** Failed jobs, as pg-boss keeps them for `startWorker`. */
export const findFailedJobs = `
  select name, data->>'id' as id, data->>'event' as event, data->'payload' as payload,
    coalesce(output, to_jsonb(job)->'source_output')->>'message' as error
  from pgboss.job where name like '%.failed' and state < 'active'
  order by created_on
`;

/** How many are waiting in the outbox and in each queue, failed ones too, and for how long. */
export const watchOutbox = `
  select 'event_outbox' as name, count(*), now() - min(created_at) as oldest from event_outbox
  union all
  select queue.name, count(job.id), now() - min(job.created_on)
  from pgboss.queue
  left join pgboss.job on job.name = queue.name and job.state < 'completed'
  group by queue.name
`;

/** Waits until nothing is left in the outbox and in the queues, but no longer than three minutes. */
export async function untilAllDone(pool: pg.Pool): Promise<void> {
  const deadline = Date.now() + 3 * 60_000;
  const query = `
    select (select count(*) from event_outbox) +
      (select count(*) from pgboss.job where state < 'completed') as "left"`;
  while (Number((await pool.query(query)).rows[0].left) > 0) {
    if (Date.now() > deadline) throw new Error("the queues are not empty after three minutes");
    await sleep(50);
  }
}

/** A pool that ends at the end. */
export function openPool(databaseUrl: string, defer: Defer): pg.Pool {
  const pool = createPool(databaseUrl);
  defer(() => pool.end());
  return pool;
}
