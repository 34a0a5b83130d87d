import { once } from "node:events";
import type { Defer } from "../../fixtures/deferred";
import { forkTypeScript } from "../../fixtures/fork-typescript";
import type { Told } from "../../membership-changes/expected";

export interface PeerOptions {
  readonly engine: string;
  readonly location: string;
  readonly withPlugin: boolean;
}

export interface Taken {
  readonly told: readonly Told[];
  readonly errors: readonly string[];
}

/** Another server at the same database, in a process of its own. */
export async function startPeer(defer: Defer, options: PeerOptions) {
  const child = forkTypeScript(new URL("peer-process.ts", import.meta.url), {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const exited = once(child, "exit");
  defer(async () => {
    child.disconnect();
    await exited;
  });
  async function ask<Answer>(question: object): Promise<Answer> {
    child.send(question);
    const answer = await Promise.race([
      once(child, "message"),
      exited.then(([code]) => {
        throw new Error(`the second server ended with ${code}`);
      }),
    ]);
    return answer[0] as Answer;
  }
  const { url } = await ask<{ url: string }>(options);
  /** What it told, and what requests failed with there, since the last time. */
  return { url, take: () => ask<Taken>({}) };
}
