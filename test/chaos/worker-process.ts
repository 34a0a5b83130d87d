import type { Events } from "@kernia/events";
import { startWorker, type EventJob } from "../examples/outbox/worker";
import { connectToParent } from "../fixtures/child";
import { createPool } from "../fixtures/postgres";

const { send } = connectToParent();
const databaseUrl = process.env["DATABASE_URL"]!;
const queue = process.env["QUEUE"]!;
const events: (keyof Events)[] = JSON.parse(process.env["EVENTS"]!);
const pool = createPool(databaseUrl);

/** Fails now and then, before or after it has written: either way its job is retried. */
async function record(payload: unknown, { id, event }: EventJob): Promise<void> {
  failNowAndThen();
  const values = [queue, event, JSON.stringify(payload), id];
  await pool.query("insert into handled values ($1, $2, $3, $4)", values);
  failNowAndThen();
}

function failNowAndThen(): void {
  if (Math.random() < 0.01) throw new Error("a handler failed, as it should now and then");
}

const handlers = Object.fromEntries(events.map((event) => [event, record]));
await startWorker({ databaseUrl, queues: { [queue]: handlers }, concurrency: 20 });
send({ kind: "ready" });
