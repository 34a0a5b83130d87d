import pg from "pg";
import type { Defer } from "./deferred";
import { ask } from "./guardian";

/** What a person has to change before this can run; the message says what. */
export class SetupError extends Error {}

/**
 * Returns the URL of the server at `DATABASE_URL` if that is set, else of an embedded one.
 *
 * @throws SetupError if `DATABASE_URL` does not lead to a server on which databases can be created,
 * or if the embedded one does not start.
 */
export async function startPostgres(defer: Defer): Promise<string> {
  const url = process.env["DATABASE_URL"];
  if (!url) return (await startEmbeddedPostgres(defer)).url;
  if (!/^postgres(ql)?:\/\//.test(url) || !URL.canParse(url)) {
    throw new SetupError("DATABASE_URL must be a URL like postgresql://user:password@host:5432/db");
  }
  // Tells now, rather than in the middle of what follows.
  await ask("remove", await createDatabaseOn(url));
  return url;
}

/** Starts PostgreSQL in a temporary folder; it is stopped, and the folder removed, at the end. */
export async function startEmbeddedPostgres(defer: Defer) {
  const url = await ask("startServer").catch((error: Error) => {
    throw new SetupError(`The embedded PostgreSQL did not start: ${error.message}`, {
      cause: error,
    });
  });
  defer(() => ask("remove", url));
  return {
    url,
    stop: () => ask("stopServer", url),
    startAgain: () => ask("startServerAgain", url),
  };
}

/** Returns the URL of a new database on the server; it is dropped at the end. */
export async function createDatabase(serverUrl: string, defer: Defer): Promise<string> {
  const url = await createDatabaseOn(serverUrl);
  defer(() => ask("remove", url));
  return url;
}

function createDatabaseOn(serverUrl: string): Promise<string> {
  return ask("createDatabase", serverUrl).catch((error: Error) => {
    const { host } = new URL(serverUrl);
    throw new SetupError(
      `No database could be created on the PostgreSQL at ${host}: ${error.message}\n` +
        "Set DATABASE_URL to a server and a role that may create databases, or unset it to use " +
        "an embedded PostgreSQL.",
      { cause: error },
    );
  });
}

/** A pool that outlives its connections: one that breaks fails its query and nothing else. */
export function createPool(databaseUrl: string, config?: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({ connectionString: databaseUrl, ...config });
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}
