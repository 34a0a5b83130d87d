import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../..", import.meta.url));

const running = new Set<ChildProcess>();

/** Ends whatever is still running on any machine. */
export function killAll(): void {
  for (const { pid, exitCode, signalCode } of running) {
    if (exitCode === null && signalCode === null) process.kill(-pid!, "SIGKILL");
  }
}

/** What one user's machine is like, where it is not like this one. */
export interface Machine {
  /** Where each run gets a `TMPDIR` of its own. Everybody can enter it. */
  readonly temporary: string;
  /** Where the checkout lies. */
  readonly folder: string;
  /** The folder of a Node and an npm that come before those of this machine. */
  readonly tools?: string;
  readonly user?: { readonly uid: number; readonly gid: number; readonly home: string };
}

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
  /** A line for each process, file and folder that was still there some time after the end. */
  readonly left: readonly string[];
}

/** Longer than PostgreSQL takes to stop, and much longer than it should. */
const mostSecondsToCleanUp = 15;

/** Copies what a clone of this checkout would hold, with what is not committed yet. */
export function checkOut(
  folder: string,
  temporary: string,
  { user }: Pick<Machine, "user"> = {},
): Machine {
  mkdirSync(folder, { recursive: true });
  const files = execFileSync(
    "git",
    ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    { cwd: repository },
  );
  execFileSync("xargs", ["-0", "cp", "-a", "--parents", "-t", folder], {
    cwd: repository,
    input: files,
  });
  if (user) execFileSync("chown", ["-R", `${user.uid}:${user.gid}`, folder]);
  return { folder, temporary, ...(user && { user }) };
}

export interface Run {
  /** Whether nobody else may enter `TMPDIR`; as a rule everybody may, as with `/tmp`. */
  readonly closed?: boolean;
  readonly env?: NodeJS.ProcessEnv;
  readonly leaveOut?: readonly string[];
  /** Called once the command was started. */
  readonly during?: (child: ChildProcess) => unknown;
}

/** Runs a command line on the machine, in a process group of its own, and sees what it leaves. */
export async function run(
  { folder, temporary, tools, user }: Machine,
  command: string,
  { closed = false, env = {}, leaveOut = [], during }: Run = {},
): Promise<Outcome> {
  const temporaryFolder = mkdtempSync(join(temporary, "run-"));
  chmodSync(temporaryFolder, closed ? 0o700 : 0o1777);
  if (user) chownSync(temporaryFolder, user.uid, user.gid);
  const id = randomUUID();
  const before = listFiles(folder);

  const child = spawn("bash", ["-c", command], {
    cwd: folder,
    detached: true,
    env: {
      ...withoutOurOwn(process.env, leaveOut),
      ...(tools && { PATH: `${tools}:${process.env["PATH"]}` }),
      ...(user && { HOME: user.home, npm_config_cache: join(user.home, ".npm") }),
      TMPDIR: temporaryFolder,
      // By this, every process that comes of it can be found.
      KERNIA_EVENTS_MACHINE: id,
      ...env,
    },
    ...(user && { uid: user.uid, gid: user.gid }),
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += data));
  const outputEnded = once(child, "close");
  running.add(child);
  await Promise.all([once(child, "exit"), during?.(child)]);
  running.delete(child);

  const left = async () => [
    ...findProcesses(id).map((line) => `process ${line}`),
    ...readdirSync(temporaryFolder)
      // The caches of tsx and of Node, which are kept on purpose and shared by all runs.
      .filter((name) => !/^(tsx-|node-compile-cache)/.test(name))
      .map((name) => `TMPDIR/${name}`),
    ...[...listFiles(folder)].filter((file) => !before.has(file)),
  ];
  const deadline = Date.now() + mostSecondsToCleanUp * 1_000;
  while ((await left()).length > 0 && Date.now() < deadline) await sleep(100);
  const leftInTheEnd = await left();
  if (findProcesses(id).length === 0) await outputEnded;
  execFileSync("rm", ["-rf", temporaryFolder]);
  return { code: child.exitCode, output, left: leftInTheEnd };
}

/** The environment without what npm added to it for this very run. */
function withoutOurOwn(env: NodeJS.ProcessEnv, leaveOut: readonly string[]): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(
    ([name]) => !/^(npm_|INIT_CWD|NODE$|DATABASE_URL)/.test(name) && !leaveOut.includes(name),
  );
  return Object.fromEntries(kept);
}

/** All files below the folder but what the commands are there to make. */
function listFiles(folder: string): Set<string> {
  const files = execFileSync(
    "find",
    [
      folder,
      "-path",
      "*/node_modules",
      "-prune",
      "-o",
      "-path",
      "*/dist",
      "-prune",
      "-o",
      // The next build removes it; see tsup.config.ts.
      "-name",
      "tsup.config.bundled_*",
      "-prune",
      "-o",
      "-print",
    ],
    { encoding: "utf8" },
  );
  return new Set(files.trim().split("\n"));
}

/** The processes that have this in their environment. */
function findProcesses(id: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, "utf8").includes(id)) return [];
        const commandLine = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return commandLine === "" ? [] : [`${pid}: ${commandLine.slice(0, 100)}`];
      } catch {
        // It has just ended, or belongs to somebody else.
        return [];
      }
    });
}
