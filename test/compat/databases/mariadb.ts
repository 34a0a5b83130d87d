import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort } from "../../fixtures/loopback";
import { createTemporaryFolder, removeAtEnd } from "../../fixtures/temporary-folder";
import { randomUUID } from "node:crypto";
import type { Defer } from "../../fixtures/deferred";
import { databaseOf, type Engine } from "../../membership-changes/database";

export const mariaDb: Engine = {
  name: "Kysely, MariaDB",
  open: async (defer) => databaseOf(await createMariaDb(defer)),
};

/** Returns a function that connects to a new database, on the server at `MARIADB_URL` if that is set. */
export async function createMariaDb(defer: Defer) {
  const { createConnection, createPool } = await import("mysql2/promise");
  const server = process.env["MARIADB_URL"] ?? (await startMariaDb(defer).catch(explain));
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

const run = promisify(execFile);
const mostSeconds = 60;
// Debian keeps the server where only root has its path.
const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/usr/local/sbin` };

/**
 * Starts the installed MariaDB on a free loopback port, and returns its URL; it is stopped, and its folder
 * removed, at the end.
 */
async function startMariaDb(defer: Defer): Promise<string> {
  const folder = await createTemporaryFolder(defer);
  const port = await freePort();
  const password = randomUUID();
  const init = join(folder, "init.sql");
  const settings = ["--no-defaults", `--datadir=${join(folder, "data")}`];
  // It runs as the user that runs this, whom root has to name.
  if (process.getuid?.() === 0) settings.push("--user=root");
  await writeFile(
    init,
    `create user kernia@'%' identified by '${password}';
     grant all on *.* to kernia@'%' with grant option;
     drop user if exists root@localhost, root@127.0.0.1, root@'::1';`,
    { mode: 0o600 },
  );
  const install = [...settings, "--auth-root-authentication-method=normal", "--skip-test-db"];
  await run("mariadb-install-db", install, { env });

  const args = [
    ...settings,
    `--socket=${join(folder, "socket")}`,
    `--pid-file=${join(folder, "pid")}`,
    `--port=${port}`,
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    `--init-file=${init}`,
  ];
  const server = spawn("mariadbd", args, { env, stdio: "ignore" });
  await once(server, "spawn");
  server.unref();
  removeAtEnd(() => server.kill("SIGKILL"), defer);
  const client = ["--no-defaults", "--host=127.0.0.1", `--port=${port}`, "--user=kernia"];
  const ping = [...client, `--wait=${mostSeconds}`, "ping"];
  await run("mariadb-admin", ping, { env: { ...env, MYSQL_PWD: password } });
  return `mysql://kernia:${password}@127.0.0.1:${port}/`;
}

function explain(cause: unknown): never {
  throw new Error("Install MariaDB (apt-get install mariadb-server), or set MARIADB_URL", {
    cause,
  });
}
