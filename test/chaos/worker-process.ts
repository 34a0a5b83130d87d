import type { Events } from "@kernia/events";
import { startWorker, type EventJob } from "../examples/outbox/worker";
import { connectToParent } from "../fixtures/child";
import { createPool } from "../fixtures/postgres";

/** The events of each queue. */
export type Subscriptions = Readonly<Record<string, readonly (keyof Events)[]>>;

const { send } = connectToParent();
const databaseUrl = process.env["DATABASE_URL"]!;
const subscriptions: Subscriptions = JSON.parse(process.env["SUBSCRIPTIONS"]!);
const pool = createPool(databaseUrl);

const queues = Object.fromEntries(
  Object.entries(subscriptions).map(([queue, events]) => [
    queue,
    Object.fromEntries(events.map((event) => [event, recordIn(queue)])),
  ]),
);

/** Fails now and then, before or after it has written: either way its job is retried. */
function recordIn(queue: string) {
  const failNowAndThen = () => {
    if (Math.random() < 0.01) throw new Error("a handler failed, as it should now and then");
  };
  return async (payload: unknown, { id, event }: EventJob) => {
    failNowAndThen();
    const values = [queue, event, JSON.stringify(payload), id];
    await pool.query("insert into handled values ($1, $2, $3, $4)", values);
    failNowAndThen();
  };
}

await startWorker({ databaseUrl, queues, concurrency: 20 });
send({ kind: "ready" });
