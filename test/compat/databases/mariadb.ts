import { randomUUID } from "node:crypto";
import { startMariaDb } from "../../fixtures/mariadb";
import { databaseOf } from "../../membership-changes/sql";
import type { Engine } from "./engine";

let server: Promise<string> | undefined;

/** The server at `MARIADB_URL`, else one for all engines, which is removed when this process ends. */
function findServer(): Promise<string> {
  const url = process.env["MARIADB_URL"];
  server ??= url ? Promise.resolve(url) : startMariaDb(() => {});
  return server;
}

const mariaDb = (name: string, ...settings: string[]): Engine => ({
  name: `Kysely, MariaDB, ${name}`,
  shared: true,
  async create(defer) {
    const { createConnection } = await import("mysql2/promise");
    const url = new URL(await findServer());
    const database = `kernia_events_${randomUUID().replaceAll("-", "")}`;
    const query = async (statement: string) => {
      const connection = await createConnection(url.href);
      await connection.query(statement);
      await connection.end();
    };
    await query(`create database ${database}`);
    defer(() => query(`drop database ${database}`));
    return new URL(database, url).href;
  },
  async open(url, defer) {
    const { createPool } = await import("mysql2");
    const connect = () => {
      const pool = createPool({ uri: url, connectionLimit: 10, timezone: "Z" });
      pool.on("connection", (connection) => {
        for (const setting of settings) connection.query(`set session ${setting}`);
      });
      const promisePool = pool.promise();
      defer(() => promisePool.end());
      return promisePool;
    };
    return databaseOf(connect);
  },
});

export const mariaDbEngines: readonly Engine[] = [
  mariaDb("REPEATABLE READ", "innodb_snapshot_isolation = off"),
  mariaDb("REPEATABLE READ, snapshot isolation", "innodb_snapshot_isolation = on"),
  mariaDb("READ COMMITTED", "transaction isolation level read committed"),
];
