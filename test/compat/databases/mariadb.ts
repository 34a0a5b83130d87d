import { randomUUID } from "node:crypto";
import type { Defer } from "../../fixtures/deferred";
import { startMariaDb } from "./start-mariadb";
import { databaseOf } from "../../membership-changes/sql";
import type { Engine } from "../../membership-changes/database";

export const mariaDb: Engine = {
  name: "Kysely, MariaDB",
  open: async (defer) => databaseOf(await createMariaDb(defer)),
};

/** Returns a function that connects to a new database, on the server at `MARIADB_URL` if that is set. */
export async function createMariaDb(defer: Defer) {
  const { createConnection, createPool } = await import("mysql2/promise");
  const server = process.env["MARIADB_URL"] ?? (await startMariaDb(defer));
  const name = `kernia_events_${randomUUID().replaceAll("-", "")}`;
  const query = async (statement: string) => {
    const connection = await createConnection(server);
    await connection.query(statement);
    await connection.end();
  };
  await query(`create database ${name}`);
  defer(() => query(`drop database ${name}`));
  return () => {
    const pool = createPool({
      uri: new URL(name, server).href,
      connectionLimit: 10,
      timezone: "Z",
    });
    defer(() => pool.end());
    return pool;
  };
}
