import { randomUUID } from "node:crypto";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { scim } from "@better-auth/scim";
import { sso } from "@better-auth/sso";
import {
  betterAuth,
  type AuthContext,
  type BetterAuthOptions,
  type BetterAuthPlugin,
} from "better-auth";
import { toNodeHandler } from "better-auth/node";
import { admin, anonymous, organization } from "better-auth/plugins";
import { commonOptions } from "../fixtures/auth-server";
import type { Defer } from "../fixtures/deferred";
import { Client } from "../fixtures/client";
import { serve } from "../fixtures/loopback";
import { createOrganization, signUp, type TestUser } from "../fixtures/users";
import { openPostgres, type Database } from "./database";
import { idIs } from "./membership-change";

/** The plugins come after the official ones. */
type ServerOptions = { plugins?: BetterAuthPlugin[] };

/** What the app's own hooks answer; they are removed after each change. */
export interface Hooks {
  deleteUser?: () => boolean | void;
  updateSession?: () => void;
  addMember?: () => void | { data: { role: string } };
  removeMember?: () => void;
  updateMemberRole?: () => void | { data: { role: string } };
  provision?: () => void;
}

/** On any database. */
export type Server = Awaited<ReturnType<typeof startServer>>;
export type PostgresServer = Awaited<ReturnType<typeof startPostgresServer>>;

export const scimToken = "a-token-on-loopback";

/** The server on a database of its own. */
export async function startPostgresServer(defer: Defer, options: ServerOptions) {
  const { pool, ...database } = await openPostgres(defer);
  return { ...(await startServer(defer, database, options)), outside: pool };
}

/** Better Auth with all official plugins that change members or delete users, behind real HTTP. */
export async function startServer(
  defer: Defer,
  database: Database,
  { plugins = [] }: ServerOptions = {},
) {
  const provider = await serve((request, response) => void authorize(request, response));
  defer(provider.close);
  const identityProvider = provider.url;
  const hooks: Hooks = {};
  let handle: RequestListener = (_, response) => void response.end();
  const { url, close } = await serve((request, response) => handle(request, response));
  defer(close);

  const scimOrganization = { id: "" };
  const directory = scim({
    connections: [
      { id: "directory", credentials: [{ type: "bearer", id: "token", token: scimToken }] },
    ],
    projection: {
      roles: { map: ({ source }) => [source.displayName], exists: () => true },
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
        beforeAddMember: async () => hooks.addMember?.(),
        beforeRemoveMember: async () => hooks.removeMember?.(),
        beforeUpdateMemberRole: async () => hooks.updateMemberRole?.(),
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
    // It demands them. Its own type does not allow for `exactOptionalPropertyTypes`.
    ...(database.transactions ? [directory as BetterAuthPlugin] : []),
  ];

  const options = {
    ...commonOptions,
    baseURL: url,
    socialProviders: {
      gitlab: { clientId: "client", clientSecret: "secret", issuer: identityProvider },
    },
    trustedOrigins: [identityProvider],
    databaseHooks: {
      user: {
        create: { before: async () => ({ data: { emailVerified: true } }) },
        delete: { before: async () => hooks.deleteUser?.() ?? true },
      },
      session: { update: { before: async () => hooks.updateSession?.() } },
    },
    advanced: {
      ...(database.serialIds && { database: { generateId: "serial" as const } }),
    },
    logger: { disabled: true },
    plugins: [...official, ...plugins],
  } satisfies BetterAuthOptions;
  const auth = betterAuth({ ...options, database: await database.connect(options) });
  handle = toNodeHandler(auth);
  // Its own type is that of these options, which no other server has.
  const context = (await auth.$context) as unknown as AuthContext;
  const { adapter } = context;

  const ada = await signUp(url, "Ada");
  const root = await signUp(url, "Root");
  await adapter.update({ model: "user", where: idIs(root.userId), update: { role: "admin" } });
  scimOrganization.id = await createOrganization(ada, "directory");

  async function addMember(organizationId: string, userId: string, role: string) {
    const data = { organizationId, userId, role, createdAt: new Date() };
    return adapter.create<object, { id: string }>({ model: "member", data });
  }

  /** Makes a user a member, past the routes. */
  async function join(organizationId: string, role = "member", user?: TestUser): Promise<Member> {
    const newcomer = user ?? (await signUp(url, "Bob"));
    const { id } = await addMember(organizationId, newcomer.userId, role);
    return { ...newcomer, memberId: id };
  }

  return {
    url,
    database,
    auth: auth as unknown as ServerSide,
    context,
    adapter,
    hooks,
    /** Owns the organizations. */
    ada,
    /** May do what the admin plugin allows. */
    root,

    signUp: (name: string) => signUp(url, name),
    client: () => new Client(url),
    organization: () => createOrganization(ada, "lovelace"),

    join,

    /** Makes new users members of an organization, past the routes. */
    async fill(members: number, organizationId: string): Promise<void> {
      for (let index = 0; index < members; index++) {
        const guest = { name: "Guest", email: `${randomUUID()}@example.com` };
        const { id } = await context.internalAdapter.createUser(guest, { method: "admin" });
        await addMember(organizationId, id, "member");
      }
    },

    /** Registers a provider whose users become members of the organization. */
    async ssoProvider(organizationId: string) {
      const providerId = `sso-${randomUUID()}`;
      const domain = `${randomUUID()}.example.com`;
      const oidcConfig = JSON.stringify({
        issuer: identityProvider,
        clientId: "client",
        clientSecret: "secret",
        authorizationEndpoint: `${identityProvider}/authorize`,
        tokenEndpoint: `${identityProvider}/token`,
        jwksEndpoint: `${identityProvider}/jwks`,
        userInfoEndpoint: `${identityProvider}/userinfo`,
      });
      const verified = { domain, domainVerified: true, issuer: identityProvider };
      const data = { providerId, ...verified, organizationId, userId: ada.userId, oidcConfig };
      await adapter.create({ model: "ssoProvider", data });
      return { providerId, domain };
    },
  };
}

export interface Member extends TestUser {
  readonly memberId: string;
}

/** The server-side calls, whatever the plugins are. */
interface ServerSide {
  api: Record<string, (call: { body: object }) => Promise<unknown>>;
}

/** Stands in for Okta and GitLab: accepts any code, which is the address of the user who signs in. */
async function authorize(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const email =
    new URLSearchParams(await text(request)).get("code") ??
    request.headers.authorization?.replace("Bearer ", "");
  const token = { access_token: email, token_type: "Bearer", expires_in: 3_600 };
  const profile = { sub: email, id: email, email, name: email, email_verified: true };
  const body = request.url?.endsWith("/token") ? token : { ...profile, state: "active" };
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}
