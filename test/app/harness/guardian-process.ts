import { createDatabase } from "./database";
import { Deferred } from "./deferred";
import { startEmbeddedPostgres, type EmbeddedPostgres } from "./embedded-postgres";
import { createFolder, removeFolder } from "./folder";
import { startMariaDb } from "./mariadb";

/**
 * The process that `guardian.ts` starts. It makes what outlives a process (servers, databases,
 * folders) and removes what is left of it when its parent is gone, however the parent ended.
 */
export type Actions = typeof actions;

interface Request {
  readonly id: number;
  readonly action: keyof Actions;
  readonly argument: never;
}

export interface Response {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

const servers = new Map<string, EmbeddedPostgres>();
/** What is left to be removed, by the URL or the path of what it removes. */
const removals = new Map<string, () => Promise<void>>();

const actions = {
  async startServer(): Promise<string> {
    const server = await startEmbeddedPostgres();
    servers.set(server.url, server);
    removals.set(server.url, server.remove);
    return server.url;
  },
  stopServer: (url: string) => servers.get(url)!.stop(),
  startServerAgain: (url: string) => servers.get(url)!.startAgain(),

  async startMariaDb(): Promise<string> {
    const server = await startMariaDb();
    removals.set(server.url, server.remove);
    return server.url;
  },

  async createDatabase(serverUrl: string): Promise<string> {
    const database = await createDatabase(serverUrl);
    removals.set(database.url, database.remove);
    return database.url;
  },

  async createFolder(): Promise<string> {
    const folder = await createFolder();
    removals.set(folder.path, folder.remove);
    return folder.path;
  },

  /** Takes over a folder that somebody else makes, perhaps later. */
  async takeOver(path: string): Promise<void> {
    removals.set(path, () => removeFolder(path));
  },

  async remove(key: string): Promise<void> {
    const remove = removals.get(key);
    removals.delete(key);
    await remove?.();
  },
};

/** One action after another, so that the end comes after an action that is under way. */
let lastAction: Promise<unknown> = Promise.resolve();

process.on("message", ({ id, action, argument }: Request) => {
  lastAction = lastAction
    .then((): unknown => actions[action](argument))
    .then(
      (result) => answer({ id, result }),
      (error: Error) => answer({ id, error: error.message }),
    );
});

process.on("disconnect", async () => {
  await lastAction;
  const deferred = new Deferred();
  for (const remove of removals.values()) deferred.defer(remove);
  // Nobody is left to be told what failed.
  await deferred.run().catch(() => {});
  process.exit();
});

// Whatever is meant for the parent and everything around it.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

function answer(response: Response): void {
  // The parent may be gone.
  process.send?.(response, () => {});
}
