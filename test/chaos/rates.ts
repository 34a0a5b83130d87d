import { setTimeout as sleep } from "node:timers/promises";
import { startWorker } from "../examples/outbox/worker";
import type { Defer } from "../fixtures/deferred";
import { addMemberEvents, createOutboxDatabase, untilAllDone } from "../fixtures/outbox";
import { startEmbeddedPostgres } from "../fixtures/postgres";
import { table } from "../fixtures/print";

/** Measures the figures of the examples' README, in one and a half minutes. */
export async function measureRates(defer: Defer): Promise<boolean> {
  const { url: serverUrl } = await startEmbeddedPostgres(defer);
  const { databaseUrl, pool } = await createOutboxDatabase(defer, { serverUrl });
  let handler: () => unknown = () => {};
  const one = { "organization.member.added": () => handler() };
  const print = (name: string, count: number, began: number) =>
    table({ [name]: Math.round((count * 1_000) / (performance.now() - began)) });

  /** Moves so many events to the queues that are subscribed. */
  async function move(count: number): Promise<void> {
    await addMemberEvents(pool, count);
    const { stop } = await startWorker({ databaseUrl, queues: {} });
    while ((await pool.query("select from event_outbox.event limit 1")).rowCount) await sleep(10);
    await stop();
  }

  const { stop } = await startWorker({ databaseUrl, queues: { one, other: one } });
  await stop();
  const began = performance.now();
  await move(20_000);
  print("events a second, moved to two queues", 20_000, began);
  await pool.query("truncate pgboss.job; delete from pgboss.subscription where name = 'other'");

  for (const [name, duration] of [
    ["jobs a second that do nothing", () => 0],
    ["jobs a second of 20 to 80 ms", () => 20 + 60 * Math.random()],
  ] as const) {
    handler = () => duration() > 0 && sleep(duration());
    for (const concurrency of [1, 5, 20]) {
      await move(200 * concurrency);
      const began = performance.now();
      const { stop } = await startWorker({ databaseUrl, queues: { one }, concurrency });
      await untilAllDone(pool);
      print(`${name}, ${concurrency} at the same time`, 200 * concurrency, began);
      await stop();
    }
  }

  defer((await startWorker({ databaseUrl, queues: { one } })).stop);
  const times: number[] = [];
  while (times.length < 50) {
    const received = new Promise<void>((resolve) => (handler = resolve));
    await sleep(1_000 * Math.random());
    await addMemberEvents(pool, 1);
    const committed = performance.now();
    await received;
    times.push(Math.round(performance.now() - committed));
  }
  times.sort((one, other) => one - other);
  table({ "ms from the commit to the handler": times[25], "at most": times.at(-1) });
  return true;
}
