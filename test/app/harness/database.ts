import { randomUUID } from "node:crypto";
import pg from "pg";

export interface Database {
  readonly url: string;
  remove(): Promise<void>;
}

/** Makes a new database on the server, so that nothing else on it is touched. */
export async function createDatabase(serverUrl: string): Promise<Database> {
  const name = `kernia_events_${randomUUID().replaceAll("-", "")}`;
  await query(serverUrl, `create database ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    remove: () => query(serverUrl, `drop database if exists ${name} with (force)`),
  };
}

async function query(serverUrl: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl, connectionTimeoutMillis: 10_000 });
  // A server that goes away fails the query; without a listener it would also end the process.
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
