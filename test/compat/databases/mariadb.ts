import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Defer } from "../../fixtures/deferred";
import { run } from "../../fixtures/npm";
import { createTemporaryFolder, removeAtEnd } from "../../fixtures/temporary-folder";

/**
 * Starts the installed MariaDB in a temporary folder, and returns a function that connects to it; it is
 * stopped, and the folder removed, at the end.
 */
export async function startMariaDb(defer: Defer) {
  const { createPool } = await import("mysql2/promise");
  const folder = await createTemporaryFolder(defer);
  // Only who may enter the folder reaches it, and needs no password.
  const socketPath = join(folder, "socket");
  const settings = ["--no-defaults", `--datadir=${join(folder, "data")}`];
  // It runs as the user that runs this, whom root has to name.
  if (process.getuid?.() === 0) settings.push("--user=root");
  // Debian keeps the server where only root has its path.
  process.env["PATH"] += ":/usr/sbin:/usr/local/sbin";
  await run("mariadb-install-db", settings, folder).catch((cause: unknown) => {
    throw new Error("Install MariaDB (apt-get install mariadb-server)", { cause });
  });

  const args = [...settings, `--socket=${socketPath}`, "--skip-networking", "--skip-grant-tables"];
  const server = spawn("mariadbd", args, { stdio: "ignore" });
  await once(server, "spawn");
  server.unref();
  removeAtEnd(() => server.kill("SIGKILL"), defer);
  const ping = ["--no-defaults", `--socket=${socketPath}`, "--wait=60", "ping"];
  await run("mariadb-admin", ping, folder);
  return () => {
    const pool = createPool({ socketPath, user: "root", database: "test", timezone: "Z" });
    defer(() => pool.end());
    return pool;
  };
}
