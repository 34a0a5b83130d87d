import { once } from "node:events";
import type { Defer } from "./deferred";
import { forkTypeScript } from "./fork-typescript";

export interface ChildOptions<Message> {
  env: Record<string, string>;
  defer: Defer;
  /** Is called with each message, also with those that come before the child is ready. */
  hear?(message: Message, pid: number): void;
}

/** Runs a module in a process of its own, and returns once that says that it is ready. */
export async function startChild<Message extends { readonly kind: string }>(
  module: URL,
  { env, defer, hear }: ChildOptions<Message>,
) {
  const child = forkTypeScript(module, { env: { ...process.env, ...env } });
  const pid = child.pid!;
  const exited = once(child, "exit");
  async function kill(): Promise<void> {
    child.kill("SIGKILL");
    await exited;
  }
  defer(kill);

  const seen: Message[] = [];
  const waiting = new Set<(message: Message) => void>();
  child.on("message", (message: Message) => {
    seen.push(message);
    hear?.(message, pid);
    for (const check of waiting) check(message);
  });

  /** Returns the first message that fits, be it one that came already; rejects if the child exits. */
  function told(fits: (message: Message) => boolean): Promise<Message> {
    const message = new Promise<Message>((resolve) => {
      const already = seen.find(fits);
      if (already) return resolve(already);
      const check = (message: Message) => {
        if (!fits(message)) return;
        waiting.delete(check);
        resolve(message);
      };
      waiting.add(check);
    });
    const gone = exited.then(([code, signal]) => {
      throw new Error(`process ${pid} exited with ${signal ?? code}`);
    });
    return Promise.race([message, gone]);
  }

  const ready = await told(({ kind }) => kind === "ready");
  return { pid, ready, told, kill, exited };
}

/** In the child: tells the parent, and exits once that is gone, for it may die without a word. */
export function parentOf<Message>() {
  process.on("disconnect", () => process.exit());
  if (process.connected === false) process.exit();
  return { tell: (message: Message) => void process.send?.(message) };
}
