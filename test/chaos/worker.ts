import PgBoss from "pg-boss";
import { createPool } from "../fixtures/postgres";
import { startWorker, type EventJob } from "../examples/outbox/worker";
import { tellParent } from "./child-message";
import { createRandom } from "./random";
import { teams, type TeamName } from "./teams";

const { tell, tellError } = tellParent();
const databaseUrl = process.env["DATABASE_URL"]!;
const random = createRandom(process.env["SEED"]!);
const pool = createPool(databaseUrl);

const queues = Object.fromEntries(
  Object.entries(teams[process.env["TEAM"] as TeamName]).map(([queue, events]) => [
    queue,
    Object.fromEntries(events.map((event) => [event, record(queue, event)])),
  ]),
);

/** Now and then it fails before, and now and then after: either way it is tried again. */
function record(queue: string, event: string) {
  return async (payload: unknown, { id }: EventJob) => {
    if (random.oneIn(100)) throw new Error("a handler failed, as it should now and then");
    await pool.query("insert into handled (queue, event, payload, job) values ($1, $2, $3, $4)", [
      queue,
      event,
      JSON.stringify(payload),
      id,
    ]);
    if (random.oneIn(100)) throw new Error("a handler failed, as it should now and then");
  };
}

const boss = new PgBoss({
  connectionString: databaseUrl,
  schedule: false,
  maintenanceIntervalSeconds: 1,
});
await boss.start();
await startWorker({
  databaseUrl,
  boss,
  queues,
  expireInSeconds: 5,
  concurrency: 20,
  logger: { error: (...details: unknown[]) => tellError(details.map(String).join(" ")) },
});
tell({ kind: "ready" });
