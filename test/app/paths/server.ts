import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { scim } from "@better-auth/scim";
import { sso } from "@better-auth/sso";
import { betterAuth, type AuthContext, type BetterAuthPlugin } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { admin, anonymous, organization } from "better-auth/plugins";
import { Kysely, PostgresDialect } from "kysely";
import type { Defer } from "../harness/deferred";
import { Client } from "../harness/client";
import { createOrganization, signUp, type Person } from "../harness/people";
import { createDatabase, createPool, startPostgres } from "../harness/postgres";
import { startIdentityProvider } from "./identity-provider";

export interface PathServerOptions {
  /** What is to be tested; the official plugins come after them, or before them. */
  plugins?: BetterAuthPlugin[];
  pluginsFirst?: boolean;
  databaseUrl?: string;
  /** As an adapter without transactions has it. */
  withoutTransactions?: boolean;
  connections?: number;
  serialIds?: boolean;
}

/** What the app's own hooks answer; each path has it to itself. */
export interface Hooks {
  deleteUser?: () => boolean | void;
  beforeDeleteUser?: () => void;
  updateSession?: () => void;
  acceptInvitation?: () => void;
  addMember?: () => void | { data: { role: string } };
  removeMember?: () => void;
  updateMemberRole?: () => void | { data: { role: string } };
  deleteOrganization?: () => void;
  provision?: () => void;
}

export type PathServer = Awaited<ReturnType<typeof startPathServer>>;

export const scimToken = "a-token-on-loopback";

/** Better Auth with all official plugins that change members or delete users, behind real HTTP. */
export async function startPathServer(
  defer: Defer,
  {
    plugins = [],
    pluginsFirst = false,
    databaseUrl,
    withoutTransactions = false,
    connections = 10,
    serialIds = false,
  }: PathServerOptions = {},
) {
  const database = databaseUrl ?? (await createDatabase(await startPostgres(defer), defer));
  const pool = createPool(database, { max: connections });
  defer(() => pool.end());
  const queries: string[] = [];
  pool.on("connect", (client) => {
    const { query } = client;
    client.query = (...call: unknown[]) => {
      const [statement] = call as [string | { text: string }];
      queries.push(typeof statement === "string" ? statement : statement.text);
      return Reflect.apply(query, client, call);
    };
  });
  /** On connections of its own, so that it sees what others see. */
  const outside = createPool(database, { max: 4 });
  defer(() => outside.end());
  const identityProvider = await startIdentityProvider(defer);
  const hooks: Hooks = {};
  const hooksRun: string[] = [];
  const ran = <Answer>(name: string, hook?: () => Answer) => {
    hooksRun.push(name);
    return hook?.();
  };

  const server = createServer((request, response) => void handle(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const scimOrganization = { id: "" };
  const directory = scim({
    connections: [
      {
        id: "directory",
        credentials: [{ type: "bearer", id: "token", token: scimToken }],
      },
    ],
    projection: {
      roles: {
        map: ({ source }) => [source.displayName],
        exists: () => true,
      },
      // The plugin leaves it to the app which organization is meant; this is as its docs do it.
      async reconcileUser({ userId, active, grants }, { database }) {
        const organizationId = scimOrganization.id;
        const where = [
          { field: "organizationId", value: organizationId },
          { field: "userId", value: userId },
        ];
        const role = grants[0]?.role ?? "member";
        const member = await database.findOne<{ role: string }>({ model: "member", where });
        if (!active) await database.deleteMany({ model: "member", where });
        else if (member) await database.update({ model: "member", where, update: { role } });
        else {
          const data = { organizationId, userId, role, createdAt: new Date() };
          await database.create({ model: "member", data });
        }
        hooks.provision?.();
      },
    },
  });
  const official = [
    organization({
      membershipLimit: 5_000,
      invitationLimit: 5_000,
      teams: { enabled: true, maximumMembersPerTeam: 3 },
      organizationHooks: {
        beforeAcceptInvitation: async () => ran("beforeAcceptInvitation", hooks.acceptInvitation),
        beforeAddMember: async () => ran("beforeAddMember", hooks.addMember),
        beforeRemoveMember: async () => ran("beforeRemoveMember", hooks.removeMember),
        beforeUpdateMemberRole: async () => ran("beforeUpdateMemberRole", hooks.updateMemberRole),
        beforeDeleteOrganization: async () =>
          ran("beforeDeleteOrganization", hooks.deleteOrganization),
        afterAcceptInvitation: async () => ran("afterAcceptInvitation"),
        afterAddMember: async () => ran("afterAddMember"),
        afterRemoveMember: async () => ran("afterRemoveMember"),
        afterUpdateMemberRole: async () => ran("afterUpdateMemberRole"),
        afterDeleteOrganization: async () => ran("afterDeleteOrganization"),
      },
    }),
    admin(),
    anonymous(),
    sso({
      trustEmailVerified: true,
      domainVerification: { enabled: true },
      organizationProvisioning: {
        getRole: async ({ user }) => (user.email.startsWith("admin") ? "admin" : "member"),
      },
    }),
    ...(withoutTransactions ? [] : [directory]),
    // Their own types do not allow for `exactOptionalPropertyTypes`.
  ] as unknown as BetterAuthPlugin[];

  const kysely = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) });
  const auth = betterAuth({
    baseURL: url,
    secret: "a secret for the tests on loopback, and for nothing else",
    database: withoutTransactions ? { db: kysely, type: "postgres", transaction: false } : pool,
    emailAndPassword: {
      enabled: true,
      // The real one is slow on purpose, and this is about something else.
      password: {
        hash: async (password) => password,
        verify: async ({ hash, password }) => hash === password,
      },
    },
    socialProviders: {
      gitlab: { clientId: "client", clientSecret: "secret", issuer: identityProvider },
    },
    trustedOrigins: [identityProvider],
    user: {
      deleteUser: { enabled: true, beforeDelete: async () => hooks.beforeDeleteUser?.() },
    },
    databaseHooks: {
      user: {
        create: { before: async () => ({ data: { emailVerified: true } }) },
        delete: { before: async () => hooks.deleteUser?.() ?? true },
      },
      session: { update: { before: async () => hooks.updateSession?.() } },
    },
    advanced: {
      ipAddress: { ipAddressHeaders: ["x-forwarded-for"] },
      ...(serialIds && { database: { generateId: "serial" as const } }),
    },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    logger: { disabled: true },
    plugins: pluginsFirst ? [...plugins, ...official] : [...official, ...plugins],
  });
  await (await getMigrations(auth.options)).runMigrations();
  const handle = toNodeHandler(auth);
  defer(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  // Better Auth's own type of it does not allow for `exactOptionalPropertyTypes`.
  const context = (await auth.$context) as unknown as AuthContext;
  const { adapter } = context;

  const ada = await signUp(url, "Ada");
  const root = await signUp(url, "Root");
  await outside.query(`update "user" set role = 'admin' where id = $1`, [root.userId]);
  scimOrganization.id = await createOrganization(ada, "directory");

  return {
    url,
    databaseUrl: database,
    auth: auth as unknown as ServerSide,
    context,
    adapter,
    outside,
    identityProvider,
    hooks,
    /** The names of the app's organization hooks that ran. */
    hooksRun,
    /** The statements that were sent to PostgreSQL. */
    queries,
    /** Owns the organizations. */
    ada,
    /** May do what the admin plugin allows. */
    root,
    scimOrganizationId: scimOrganization.id,

    signUp: (name: string) => signUp(url, name),
    client: () => new Client(url),
    organization: () => createOrganization(ada, "lovelace"),

    /** Makes a new person a member, past the routes. */
    async join(organizationId: string, role = "member", person?: Person): Promise<Member> {
      const newcomer = person ?? (await signUp(url, "Bob"));
      const { id } = await adapter.create<object, { id: string }>({
        model: "member",
        data: { organizationId, userId: newcomer.userId, role, createdAt: new Date() },
      });
      return { ...newcomer, memberId: id };
    },

    /** Fills an organization, or a person's list of them, by one statement each. */
    async fill(members: number, organizationId: string): Promise<string[]> {
      const id = serialIds ? "default" : "gen_random_uuid()::text";
      const column = serialIds ? "" : "id, ";
      const value = serialIds ? "" : `${id}, `;
      const { rows } = await outside.query(
        `with people as (
           insert into "user" (${column}name, email, "emailVerified", "createdAt", "updatedAt")
           select ${value}'Guest', gen_random_uuid() || '@example.com', true, now(), now()
           from generate_series(1, $1) returning id)
         insert into member (${column}"organizationId", "userId", role, "createdAt")
         select ${value}$2, id, 'member', now() from people returning "userId" as id`,
        [members, organizationId],
      );
      return rows.map((row) => String(row.id));
    },

    async organizations(count: number, { userId }: Person): Promise<void> {
      const column = serialIds ? "" : "id, ";
      const value = serialIds ? "" : "gen_random_uuid()::text, ";
      await outside.query(
        `with organizations as (
           insert into organization (${column}name, slug, "createdAt")
           select ${value}'Guild', gen_random_uuid()::text, now()
           from generate_series(1, $1) returning id)
         insert into member (${column}"organizationId", "userId", role, "createdAt")
         select ${value}id, $2, 'member', now() from organizations`,
        [count, userId],
      );
    },

    /** Registers a provider whose people become members of the organization. */
    async ssoProvider(
      organizationId: string | null,
    ): Promise<{ providerId: string; domain: string }> {
      const providerId = `sso-${randomUUID()}`;
      const domain = `${randomUUID()}.example.com`;
      await adapter.create({
        model: "ssoProvider",
        data: {
          providerId,
          domain,
          domainVerified: true,
          issuer: identityProvider,
          organizationId,
          userId: ada.userId,
          oidcConfig: JSON.stringify({
            issuer: identityProvider,
            pkce: false,
            clientId: "client",
            clientSecret: "secret",
            discoveryEndpoint: `${identityProvider}/discovery`,
            authorizationEndpoint: `${identityProvider}/authorize`,
            tokenEndpoint: `${identityProvider}/token`,
            jwksEndpoint: `${identityProvider}/jwks`,
            userInfoEndpoint: `${identityProvider}/userinfo`,
          }),
        },
      });
      return { providerId, domain };
    },
  };
}

export interface Member extends Person {
  readonly memberId: string;
}

/** The server-side calls that the paths make, whatever the plugins are. */
interface ServerSide {
  api: Record<string, (call: { body?: object; headers?: Headers }) => Promise<unknown>>;
}
