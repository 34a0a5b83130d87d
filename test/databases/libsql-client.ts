import { createClient, type Client, type Transaction, type TransactionMode } from "@libsql/client";
import type { Defer } from "../app/harness/deferred";

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
  const inTurn =
    <Arguments extends unknown[], Result>(run: (...given: Arguments) => Promise<Result>) =>
    async (...given: Arguments) => {
      const end = await takeTurn();
      return run(...given).finally(end);
    };

  async function transaction(mode?: TransactionMode): Promise<Transaction> {
    const end = await takeTurn();
    try {
      const begun = await client.transaction(mode);
      for (const method of ["commit", "rollback"] as const) {
        const original = begun[method].bind(begun);
        begun[method] = () => original().finally(end);
      }
      const close = begun.close.bind(begun);
      begun.close = () => {
        close();
        end();
      };
      return begun;
    } catch (error) {
      end();
      throw error;
    }
  }

  const { execute, batch, migrate } = client;
  return new Proxy(client, {
    get(target, name) {
      if (name === "execute") return inTurn(execute.bind(client));
      if (name === "batch") return inTurn(batch.bind(client));
      if (name === "migrate") return inTurn(migrate.bind(client));
      return name === "transaction" ? transaction : Reflect.get(target, name, target);
    },
  });
}
