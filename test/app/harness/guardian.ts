import type { ChildProcess } from "node:child_process";
import { forkTypeScript } from "./fork-typescript.ts";
import type { Actions, Response } from "./guardian-process";

let guardian: ChildProcess | undefined;
let lastId = 0;
const waiting = new Map<number, (response: Response) => void>();

/**
 * Has a process of its own make something that outlives this one, or remove it. What is left when
 * this process ends, be it by SIGKILL, that process removes.
 */
export async function ask<Name extends keyof Actions>(
  action: Name,
  ...[argument]: Parameters<Actions[Name]>
): Promise<Awaited<ReturnType<Actions[Name]>>> {
  guardian ??= start();
  const id = ++lastId;
  const { error, result } = await new Promise<Response>((resolve) => {
    const settle = (response: Response) => {
      waiting.delete(id);
      resolve(response);
    };
    waiting.set(id, settle);
    // Only an answer that is waited for keeps this process alive.
    guardian!.channel!.ref();
    guardian!.send({ id, action, argument }, (sendError) => {
      if (sendError) settle({ id, error: sendError.message });
    });
  });
  if (waiting.size === 0) guardian?.channel?.unref();
  if (error !== undefined) throw new Error(error);
  return result as Awaited<ReturnType<Actions[Name]>>;
}

function start(): ChildProcess {
  const child = forkTypeScript(new URL("guardian-process.ts", import.meta.url), {
    // A group of its own, which no Ctrl-C reaches.
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  child.unref();
  child.channel!.unref();
  child.on("message", (response: Response) => waiting.get(response.id)?.(response));
  child.on("exit", (code, signal) => {
    guardian = undefined;
    const error = `the guardian process ended with ${signal ?? code}`;
    for (const [id, settle] of waiting) settle({ id, error });
  });
  return child;
}
