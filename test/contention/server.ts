import { EventBus, getBus, type EventName, type EventPayload } from "@kernia/events";
import { betterAuth, type AuthContext, type BetterAuthPlugin } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { organization } from "better-auth/plugins";
import { Kysely, PostgresDialect } from "kysely";
import { holdActors } from "../fixtures/actor";
import { Client } from "../fixtures/client";
import { startDecoding } from "../fixtures/decoded-changes";
import type { Defer } from "../fixtures/deferred";
import { signUp } from "../fixtures/users";
import { createDatabase, createPool, startEmbeddedPostgres } from "../fixtures/postgres";
import type { Told } from "../membership-changes/expected";
import { standardEvents } from "../examples/standard-events";

export type Isolation = "read committed" | "repeatable read" | "serializable";

/**
 * A PostgreSQL whose log is decoded, and which finds deadlocks soon.
 *
 * @returns the URL of its databases.
 */
export async function startContendedPostgres(defer: Defer): Promise<string> {
  const { url } = await startEmbeddedPostgres(defer);
  const pool = createPool(url, { max: 1 });
  await pool.query("alter system set deadlock_timeout = '20ms'");
  await pool.query("select pg_reload_conf()");
  await pool.end();
  return url;
}

/** A new database with the tables of Better Auth, and what is committed to it. */
export async function createContendedDatabase(
  serverUrl: string,
  defer: Defer,
  isolation: Isolation = "read committed",
) {
  const url = await createDatabase(serverUrl, defer);
  const pool = createPool(url, { max: 4 });
  defer(() => pool.end());
  const { pathname } = new URL(url);
  await pool.query(
    `alter database ${pathname.slice(1)} set default_transaction_isolation = '${isolation}'`,
  );
  const { auth, close } = createAuth({ databaseUrl: url, plugins: [] });
  await (await getMigrations(auth.options)).runMigrations();
  await close();
  const decoding = await startDecoding(pool);
  return { url, pool, ...decoding };
}

export type ContendedDatabase = Awaited<ReturnType<typeof createContendedDatabase>>;

export interface ContendedServerOptions {
  plugin?: () => BetterAuthPlugin;
  /** As an adapter without transactions has it. */
  withoutTransactions?: boolean;
  connections?: number;
}

export type ContendedServer = Awaited<ReturnType<typeof startContendedServer>>;

/**
 * One of the servers on the database, in this process: requests reach its routes without a socket,
 * so that whose queries are whose follows from the asynchronous context.
 */
export async function startContendedServer(
  databaseUrl: string,
  defer: Defer,
  { plugin = standardEvents, ...options }: ContendedServerOptions = {},
) {
  const told: Told[] = [];
  /** The codes of the errors that PostgreSQL answered with. */
  const errors: (string | undefined)[] = [];
  const { auth, pool, close } = createAuth({
    ...options,
    databaseUrl,
    plugins: [recorder((event) => told.push(event)), plugin()],
    onError: (error) => errors.push((error as { code?: string }).code),
  });
  defer(close);
  // Better Auth's own type of it does not allow for `exactOptionalPropertyTypes`.
  const context = (await auth.$context) as unknown as AuthContext;
  const url = "http://127.0.0.1";
  const fetch = (url: string, request: RequestInit) =>
    auth.handler(new Request(url, request)).catch(() => new Response("null", { status: 500 }));

  return {
    url,
    fetch,
    pool,
    auth: auth as unknown as {
      api: Record<string, (call: { body?: object }) => Promise<unknown>>;
    },
    context,
    adapter: context.adapter,
    bus: getBus(context),
    told,
    errors,
    signUp: (name: string) => signUp(url, name, new Client(url, fetch)),
  };
}

/** Without any plugin that tells. */
export const silent = (): BetterAuthPlugin => ({ id: "silent" });

interface AuthOptions extends Omit<ContendedServerOptions, "plugin"> {
  databaseUrl: string;
  plugins: BetterAuthPlugin[];
  onError?: (error: Error) => void;
}

function createAuth({
  databaseUrl,
  plugins,
  withoutTransactions = false,
  connections = 10,
  onError,
}: AuthOptions) {
  const pool = createPool(databaseUrl, { max: connections });
  holdActors(pool, onError);
  const kysely = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) });
  const auth = betterAuth({
    baseURL: "http://127.0.0.1",
    secret: "a secret for the tests in this process, and for nothing else",
    database: withoutTransactions ? { db: kysely, type: "postgres", transaction: false } : pool,
    emailAndPassword: {
      enabled: true,
      // The real one is slow on purpose, and this is about something else.
      password: {
        hash: async (password) => password,
        verify: async ({ hash, password }) => hash === password,
      },
    },
    user: { deleteUser: { enabled: true } },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    logger: { disabled: true },
    // Else it is printed.
    onAPIError: { throw: true },
    plugins: [
      // Its own types do not allow for `exactOptionalPropertyTypes`.
      organization({ membershipLimit: 100_000 }) as unknown as BetterAuthPlugin,
      ...plugins,
    ],
  });
  return { auth, pool, close: () => pool.end() };
}

/** Puts a bus there that passes on what is emitted, in the order in which it is. */
function recorder(record: (event: Told) => unknown): BetterAuthPlugin {
  class RecordingBus extends EventBus {
    override emit<Name extends EventName>(event: Name, payload: EventPayload<Name>) {
      record([event, payload] as Told);
      return super.emit(event, payload);
    }
  }
  return {
    id: "recorder",
    init: (auth) => ({ context: { pluginState: { events: new RecordingBus(auth.logger) } } }),
  };
}
