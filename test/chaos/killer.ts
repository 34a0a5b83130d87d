import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import type { startEmbeddedPostgres } from "../fixtures/postgres";
import type { Random } from "./random";
import type { Service } from "./service";

export interface Victims {
  readonly servers: readonly Service[];
  readonly workers: readonly Service[];
  readonly pool: pg.Pool;
  readonly postgres: Awaited<ReturnType<typeof startEmbeddedPostgres>>;
}

export interface Kills {
  servers: number;
  workers: number;
  connections: number;
  postgres: number;
}

/** Kills one after another, at random, until the signal. In the end, PostgreSQL is there. */
export async function killAtRandom(
  { servers, workers, pool, postgres }: Victims,
  random: Random,
  signal: AbortSignal,
): Promise<Kills> {
  const kills: Kills = { servers: 0, workers: 0, connections: 0, postgres: 0 };
  const ways: (() => Promise<void>)[] = [
    ...repeat(4, async () => void (kills.workers += Number(await random.pick(workers).kill()))),
    ...repeat(3, async () => void (kills.servers += Number(await random.pick(servers).kill()))),
    ...repeat(4, async () => {
      const pid = await findConnection();
      if (pid === undefined) return;
      await pool.query("select pg_terminate_backend($1)", [pid]);
      kills.connections++;
    }),
    async () => {
      kills.postgres++;
      // On a busy machine, it may take longer than this waits.
      await postgres.stop().catch(() => {});
      await sleep(random.between(0, 1_000));
      await untilBack(pool, postgres);
    },
    // When one of its processes is killed, PostgreSQL ends all others, and recovers from its log.
    async () => {
      const pid = await findConnection();
      if (pid === undefined) return;
      process.kill(pid, "SIGKILL");
      kills.postgres++;
      await untilBack(pool, postgres);
    },
  ];
  while (!signal.aborted) {
    await sleep(random.between(200, 1_200), undefined, { signal }).catch(() => {});
    // What it meant to kill may have been gone already.
    await random
      .pick(ways)()
      .catch(() => {});
  }
  await untilBack(pool, postgres);
  return kills;

  async function findConnection(): Promise<number | undefined> {
    const { rows } = await pool.query<{ pid: number }>(`
      select pid from pg_stat_activity where datname = current_database()
      and backend_type = 'client backend' and pid <> pg_backend_pid() order by pid`);
    return rows.length === 0 ? undefined : random.pick(rows).pid;
  }
}

function repeat<Item>(times: number, item: Item): Item[] {
  return Array.from({ length: times }, () => item);
}

/** Starts PostgreSQL unless it runs. Rejects if it does not answer after three minutes. */
async function untilBack(pool: pg.Pool, postgres: Victims["postgres"]): Promise<void> {
  const deadline = Date.now() + 3 * 60_000;
  for (;;) {
    try {
      await pool.query("select 1");
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await postgres.startAgain().catch(() => sleep(100));
    }
  }
}
