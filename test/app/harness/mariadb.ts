import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "./embedded-postgres";
import { createFolder } from "./folder";

const run = promisify(execFile);
const mostSeconds = 60;

/** Starts the MariaDB that is installed on a free loopback port, with all its files in a folder. */
export async function startMariaDb(): Promise<{ url: string; remove(): Promise<void> }> {
  const folder = await createFolder();
  try {
    return await startIn(folder.path, () => folder.remove());
  } catch (error) {
    await folder.remove();
    // What installs its tables prints there what it lacks.
    const { message, stdout = "" } = error as Error & { stdout?: string };
    throw new Error(
      `MariaDB did not start. Install it (apt-get install mariadb-server), or set MARIADB_URL. ${message} ${stdout.slice(0, 500)}`,
      { cause: error },
    );
  }
}

async function startIn(folder: string, removeFolder: () => Promise<void>) {
  // It runs as whoever runs this, whom root has to name.
  const user = process.getuid?.() === 0 ? ["--user=root"] : [];
  const data = join(folder, "data");
  const log = join(folder, "log");
  const init = join(folder, "init.sql");
  const port = await freePort();
  const password = randomUUID();
  // Debian keeps it where only root has its path.
  const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/usr/local/sbin` };
  await run(
    "mariadb-install-db",
    [
      "--no-defaults",
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      `--datadir=${data}`,
      ...user,
    ],
    { env },
  );
  await writeFile(
    init,
    `create user kernia@'%' identified by '${password}';
     grant all on *.* to kernia@'%' with grant option;
     drop user if exists root@localhost, root@127.0.0.1, root@'::1';`,
    { mode: 0o600 },
  );
  const server = spawn(
    "mariadbd",
    [
      "--no-defaults",
      `--datadir=${data}`,
      `--socket=${join(folder, "socket")}`,
      `--pid-file=${join(folder, "pid")}`,
      `--log-error=${log}`,
      `--port=${port}`,
      "--bind-address=127.0.0.1",
      "--skip-name-resolve",
      `--init-file=${init}`,
      "--innodb-flush-log-at-trx-commit=0",
      "--innodb-buffer-pool-size=64M",
      ...user,
    ],
    { env, stdio: "ignore" },
  );
  const ended = once(server, "exit");
  ended.catch(() => {});
  await once(server, "spawn");

  async function remove() {
    server.kill();
    await ended.catch(() => {});
    await removeFolder();
  }
  for (let tries = 0; !(await listens(port)); tries++) {
    if (server.exitCode !== null || tries > mostSeconds * 10) {
      const logged = await readFile(log, "utf8").catch(() => "");
      await remove();
      throw new Error(`It ended: ${logged.slice(-2_000)}`);
    }
    await sleep(100);
  }
  return { url: `mysql://kernia:${password}@127.0.0.1:${port}/`, remove };
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
