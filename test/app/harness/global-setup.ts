import { Deferred } from "./deferred";
import { startPostgres } from "./postgres";

/** One PostgreSQL for all tests; the test files find it at `DATABASE_URL`. */
export default async function globalSetup() {
  const deferred = new Deferred();
  process.env["DATABASE_URL"] = await startPostgres(deferred.defer);
  return () => deferred.run();
}
