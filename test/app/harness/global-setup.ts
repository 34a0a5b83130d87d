import type { Defer } from "./cleanup";
import { startPostgres } from "./postgres";

/** One PostgreSQL for all tests; the test files find it at `DATABASE_URL`. */
export default async function globalSetup() {
  const deferred: Parameters<Defer>[0][] = [];
  process.env["DATABASE_URL"] = await startPostgres((cleanUp) => deferred.push(cleanUp));
  return async () => {
    for (const cleanUp of deferred) await cleanUp();
  };
}
