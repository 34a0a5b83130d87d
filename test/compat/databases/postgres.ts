import type { BetterAuthOptions } from "better-auth";
import type pg from "pg";
import type { Defer } from "../../fixtures/deferred";
import { createDatabase, createPool, startPostgres } from "../../fixtures/postgres";
import type { DatabaseOption } from "../../membership-changes/database";
import { openPostgres } from "../../membership-changes/postgres";
import { migrate, outsideOf } from "../../membership-changes/sql";
import type { Engine } from "./engine";

type Adapt = (
  options: BetterAuthOptions,
  pool: pg.Pool,
  url: string,
  defer: Defer,
) => Promise<DatabaseOption>;

const onPostgres = (adapter: string, transactions: boolean, open: Engine["open"]): Engine => ({
  name: `${adapter}, PostgreSQL, ${transactions ? "transactions" : "no transactions"}`,
  shared: true,
  create: async (defer) => createDatabase(await startPostgres(defer), defer),
  open,
});

export const postgresEngines: readonly Engine[] = [true, false].map((transactions) =>
  onPostgres("Kysely", transactions, (databaseUrl, defer) =>
    openPostgres(defer, { databaseUrl, withoutTransactions: !transactions }),
  ),
);

/** PostgreSQL by way of another adapter, once it has the tables. */
export const adaptedPostgres = (adapter: string, transactions: boolean, adapt: Adapt): Engine =>
  onPostgres(adapter, transactions, async (url, defer) => {
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
  });
