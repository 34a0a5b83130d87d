import { setTimeout as sleep } from "node:timers/promises";
import { startChild } from "../fixtures/child";
import type { Defer } from "../fixtures/deferred";
import type { ChildMessage } from "./child-message";

export interface ServiceOptions {
  module: URL;
  env: Record<string, string>;
  defer: Defer;
  /** How long until it is started again, in milliseconds. */
  pause: () => number;
  onError: (text: string) => void;
}

/** A process that is started again whenever it ends, as whatever runs it in production would. */
export class Service {
  readonly #options: ServiceOptions;
  #child: Awaited<ReturnType<typeof startChild<ChildMessage>>> | undefined;
  #stopped = false;

  private constructor(options: ServiceOptions) {
    this.#options = options;
  }

  /** Returns once it is ready. */
  static async start(options: ServiceOptions): Promise<Service> {
    const service = new Service(options);
    await service.#startOnce();
    void service.#keepRunning();
    return service;
  }

  /** Where it listens, or did. */
  url = "";

  /** Returns whether it was running. */
  async kill(): Promise<boolean> {
    const child = this.#child;
    await child?.kill();
    return child !== undefined;
  }

  /** From now on, it may end. */
  stop(): void {
    this.#stopped = true;
  }

  async #startOnce(): Promise<void> {
    const { module, env, defer, onError } = this.#options;
    const port = this.url === "" ? "0" : new URL(this.url).port;
    const child = await startChild<ChildMessage>(module, {
      env: { ...env, PORT: port },
      defer,
      hear: ({ kind, text = "" }) => kind === "error" && onError(text),
    });
    this.url = child.ready.url ?? "";
    this.#child = child;
  }

  async #keepRunning(): Promise<void> {
    while (!this.#stopped) {
      await this.#child?.exited;
      this.#child = undefined;
      if (this.#stopped) return;
      await sleep(this.#options.pause(), undefined, { ref: false });
      // It does not start while PostgreSQL is away.
      await this.#startOnce().catch(() => {});
    }
  }
}
