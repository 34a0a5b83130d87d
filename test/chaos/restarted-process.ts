import { setTimeout as sleep } from "node:timers/promises";
import { startChild, type ChildOptions } from "../fixtures/child";

type Message = { readonly kind: "ready"; readonly url?: string };

/** Starts a process, and starts it again whenever it ends, at the URL where it was. */
export async function startRestartedProcess(module: URL, options: ChildOptions<Message>) {
  const start = (PORT: string) =>
    startChild<Message>(module, { ...options, env: { ...options.env, PORT } });
  let child: Awaited<ReturnType<typeof start>> | undefined = await start("0");
  const stopping = new AbortController();
  const { url = "" } = child.ready;
  void keepRunning();

  return {
    url,
    async kill(): Promise<void> {
      if (!child) throw new Error("it is not running at the moment");
      await child.kill();
    },
    /** From now on, it is not started again. */
    stop: () => stopping.abort(),
  };

  async function keepRunning(): Promise<void> {
    while (!stopping.signal.aborted) {
      await child?.exited;
      child = undefined;
      await sleep(2_000 * Math.random(), undefined, { ref: false });
      // It does not start while PostgreSQL is away.
      if (stopping.signal.aborted) return;
      child = await start(url && new URL(url).port).catch(() => undefined);
    }
  }
}
