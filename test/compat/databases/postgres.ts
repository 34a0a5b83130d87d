import type { BetterAuthOptions } from "better-auth";
import type pg from "pg";
import { migrate } from "../../fixtures/auth-server";
import type { Defer } from "../../fixtures/deferred";
import { createDatabase, createPool, startPostgres } from "../../fixtures/postgres";
import { openPostgres } from "../../membership-changes/postgres";
import { outsideOf, type DatabaseOption } from "../../membership-changes/database";
import type { Engine } from "../../membership-changes/database";

export const postgresEngines: readonly Engine[] = [
  { name: "Kysely, PostgreSQL", open: (defer) => openPostgres(defer, {}) },
  {
    name: "Kysely, PostgreSQL, serial ids, one connection",
    open: (defer) => openPostgres(defer, { connections: 1, serialIds: true }),
  },
  {
    name: "Kysely, PostgreSQL, no transactions",
    open: (defer) => openPostgres(defer, { withoutTransactions: true }),
  },
];

type Adapt = (
  options: BetterAuthOptions,
  pool: pg.Pool,
  url: string,
  defer: Defer,
) => Promise<DatabaseOption>;

/** PostgreSQL by way of another adapter, once it has the tables. */
export const adaptedPostgres = (adapter: string, transactions: boolean, adapt: Adapt): Engine => ({
  name: `${adapter}, PostgreSQL${transactions ? "" : ", no transactions"}`,
  async open(defer) {
    const url = await createDatabase(await startPostgres(defer), defer);
    const connect = () => {
      const pool = createPool(url, { max: 10 });
      defer(() => pool.end());
      return pool;
    };
    return {
      transactions,
      outside: await outsideOf(connect()),
      async connect(options) {
        const pool = connect();
        await migrate({ ...options, database: pool });
        return adapt(options, pool, url, defer);
      },
    };
  },
});
