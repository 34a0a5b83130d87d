import { setTimeout as sleep } from "node:timers/promises";
import { run, type Machine } from "./machine";

export const signals = ["SIGINT", "SIGTERM", "SIGKILL"] as const;

export interface Interruption {
  readonly machine: Machine;
  readonly command: string;
  /** In milliseconds after its start. */
  readonly moment: number;
  readonly signal: (typeof signals)[number];
  /** The server to use rather than an embedded one. */
  readonly databaseUrl?: string;
}

/** Runs the command, sends its process group the signal, and returns what is left of it. */
export async function interrupt({
  machine,
  command,
  moment,
  signal,
  databaseUrl,
}: Interruption): Promise<string[]> {
  let failedBefore: string | undefined;
  const { left, output } = await run(machine, command, {
    env: databaseUrl === undefined ? {} : { DATABASE_URL: databaseUrl },
    async during(child) {
      await sleep(moment);
      // Once it is done, there is nothing to interrupt; but it must not fail by itself.
      if (child.exitCode !== null) {
        if (child.exitCode !== 0) failedBefore = `exited with ${child.exitCode} by itself`;
        return;
      }
      try {
        process.kill(-child.pid!, signal);
      } catch {
        // It ended at this very moment.
      }
    },
  });
  const noise = output.split("\n").filter((line) => /SERVER_ERROR|EPIPE|^\s+at /.test(line));
  return [...left, ...(failedBefore ? [failedBefore] : []), ...noise.slice(0, 3)];
}
