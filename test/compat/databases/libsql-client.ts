import { createClient, type Client, type TransactionMode } from "@libsql/client";
import type { Defer } from "../../fixtures/deferred";

/**
 * A client of a file that takes one transaction after another: `@libsql/client` fails the second of
 * a process at once, with `SQLITE_BUSY`, and what is written after that is lost. So it is with
 * Better Auth alone: sign-ups at the same time suffice.
 */
export function createLibsqlClient(path: string, defer: Defer): Client {
  const client = createClient({ url: `file:${path}` });
  defer(() => client.close());
  let free: Promise<void> = Promise.resolve();

  /** Waits for its turn, and returns what ends it. */
  async function takeTurn(): Promise<() => void> {
    let end = () => {};
    const before = free;
    free = new Promise((resolve) => (end = resolve));
    await before;
    return end;
  }

  // The adapters use no others.
  const [execute, transaction] = [client.execute.bind(client), client.transaction.bind(client)];
  client.execute = async (...statement: Parameters<Client["execute"]>) => {
    const end = await takeTurn();
    return execute(...statement).finally(end);
  };
  client.transaction = async (mode?: TransactionMode) => {
    const end = await takeTurn();
    const begun = await transaction(mode).catch((error: unknown) => {
      end();
      throw error;
    });
    const { commit, rollback } = begun;
    begun.commit = () => commit.call(begun).finally(end);
    begun.rollback = () => rollback.call(begun).finally(end);
    return begun;
  };
  return client;
}
