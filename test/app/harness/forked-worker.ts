import { fork } from "node:child_process";
import { EventEmitter, on, once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Defer } from "./deferred";
import type { WorkerMessage } from "../../examples/queue/worker";

/** Starts the worker in a process of its own, and returns once it is ready. */
export async function forkWorker(databaseUrl: string, stripePort: number, defer: Defer) {
  const child = fork(fileURLToPath(new URL("../../examples/queue/worker.ts", import.meta.url)), {
    execArgv: ["--import", "tsx"],
    env: { ...process.env, DATABASE_URL: databaseUrl, STRIPE_PORT: String(stripePort) },
  });
  const exited = once(child, "exit");
  async function kill(): Promise<void> {
    child.kill("SIGKILL");
    await exited;
  }
  defer(kill);

  const messages = new EventEmitter();
  const seen: WorkerMessage[] = [];
  child.on("message", (message: WorkerMessage) => {
    seen.push(message);
    messages.emit("message", message);
  });

  /** Returns the first message that fits, be it one that came already. */
  async function told(fits: (message: WorkerMessage) => boolean): Promise<WorkerMessage> {
    const already = seen.find(fits);
    if (already) return already;
    for await (const [message] of on(messages, "message")) if (fits(message)) return message;
    throw new Error("unreachable");
  }

  await Promise.race([
    told(({ kind }) => kind === "ready"),
    exited.then(([code]) => Promise.reject(new Error(`the worker exited with ${code}`))),
  ]);
  return { pid: child.pid, told, messages, kill };
}
