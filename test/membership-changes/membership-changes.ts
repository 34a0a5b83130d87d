import { randomUUID } from "node:crypto";
import { getCurrentAdapter, runWithTransaction } from "@better-auth/core/context";
import type { Where } from "better-auth";
import { APIError } from "better-auth/api";
import {
  accept,
  createOrganization,
  invite,
  must,
  password,
  type TestUser,
} from "../fixtures/users";
import { scimToken, type Member, type Server } from "./server";

/** One way in which members come, change and go, or users are deleted, or in which that fails. */
export interface Path {
  readonly name: string;
  /** Several changes of the same membership, each of which is to be told. */
  readonly inSteps?: true;
  /** Cannot be taken where the adapter has no transactions. */
  readonly needsTransactions?: true;
  /** Brings about what has to be there before; what it returns makes the change. */
  prepare(server: Server): Promise<() => Promise<unknown>>;
}

const path = (name: string, prepare: Path["prepare"]): Path => ({ name, prepare });
const pathInSteps = (name: string, prepare: Path["prepare"]): Path => ({
  name,
  inSteps: true,
  prepare,
});

const failed = async (answer: Promise<unknown>) =>
  answer.catch((error: unknown) => ({ failedWith: error }));
const twice = <Answer>(change: () => Promise<Answer>) => Promise.all([change(), change()]);
const byId = (id: string): Where[] => [{ field: "id", value: id }];
const veto = () => {
  throw new APIError("FORBIDDEN", { message: "vetoed by a hook of the app" });
};

const leave = (person: TestUser, organizationId: string) =>
  person.client.post("/organization/leave", { organizationId });
const remove = (by: TestUser, organizationId: string, { memberId }: Member) =>
  by.client.post("/organization/remove-member", { organizationId, memberIdOrEmail: memberId });
const setRole = (
  by: TestUser,
  organizationId: string,
  { memberId }: Member,
  role: string | string[],
) => by.client.post("/organization/update-member-role", { organizationId, memberId, role });
const deleteOrganization = (by: TestUser, organizationId: string) =>
  by.client.post("/organization/delete", { organizationId });
const deleteAccount = (person: TestUser) => person.client.post("/delete-user", { password });
const removeUser = (by: TestUser, { userId }: TestUser) =>
  by.client.post("/admin/remove-user", { userId });

const organizationRoutes: Path[] = [
  path("create an organization", async ({ ada }) => {
    const slug = randomUUID();
    return async () => must(await ada.client.post("/organization/create", { name: "new", slug }));
  }),
  path("create an organization whose slug is taken", async ({ ada }) => {
    const slug = randomUUID();
    must(await ada.client.post("/organization/create", { name: "old", slug }));
    return () => ada.client.post("/organization/create", { name: "new", slug });
  }),
  path(
    "create an organization with a hook that changes the owner's role",
    async ({ ada, hooks }) => {
      hooks.addMember = () => ({ data: { role: "admin" } });
      return () => createOrganization(ada, "new");
    },
  ),
  path("create an organization with a hook that vetoes the owner", async ({ ada, hooks }) => {
    hooks.addMember = veto;
    return () => failed(createOrganization(ada, "new"));
  }),
  ...["member", "admin", "owner"].map((role) =>
    path(`accept an invitation as ${role}`, async ({ ada, organization, signUp }) => {
      const bob = await signUp("Bob");
      const invitationId = await invite(ada, await organization(), bob.email, role);
      return async () => must(await accept(bob, invitationId));
    }),
  ),
  path("accept an invitation for two roles", async ({ ada, organization, signUp }) => {
    const bob = await signUp("Bob");
    const organizationId = await organization();
    const { body } = must(
      await ada.client.post("/organization/invite-member", {
        organizationId,
        email: bob.email,
        role: ["member", "admin"],
      }),
    );
    return async () => must(await accept(bob, body.id));
  }),
  path("accept an invitation to a team", async ({ ada, organization, signUp }) => {
    const [bob, organizationId] = [await signUp("Bob"), await organization()];
    const team = must(
      await ada.client.post("/organization/create-team", { name: "t", organizationId }),
    );
    const { body } = must(
      await ada.client.post("/organization/invite-member", {
        organizationId,
        email: bob.email,
        role: "member",
        teamId: team.body.id,
      }),
    );
    return async () => must(await accept(bob, body.id));
  }),
  path("accept the invitation of somebody else", async ({ ada, organization, signUp }) => {
    const [bob, eve] = [await signUp("Bob"), await signUp("Eve")];
    const invitationId = await invite(ada, await organization(), bob.email);
    return () => accept(eve, invitationId);
  }),
  path("accept an invitation again", async ({ ada, organization, signUp }) => {
    const bob = await signUp("Bob");
    const invitationId = await invite(ada, await organization(), bob.email);
    must(await accept(bob, invitationId));
    return () => accept(bob, invitationId);
  }),
  path("accept an unknown invitation", async ({ signUp }) => {
    const bob = await signUp("Bob");
    return () => accept(bob, "unknown");
  }),
  path("accept an invitation that a hook vetoes", async ({ ada, organization, signUp, hooks }) => {
    const bob = await signUp("Bob");
    const invitationId = await invite(ada, await organization(), bob.email);
    hooks.acceptInvitation = veto;
    return () => accept(bob, invitationId);
  }),
  path("accept an invitation, and fail after the member is there", async (server) => {
    const bob = await server.signUp("Bob");
    const invitationId = await invite(server.ada, await server.organization(), bob.email);
    server.hooks.updateSession = veto;
    return () => accept(bob, invitationId);
  }),
  path("accept an invitation twice at once", async ({ ada, organization, signUp }) => {
    const bob = await signUp("Bob");
    const invitationId = await invite(ada, await organization(), bob.email);
    return () => twice(() => accept(bob, invitationId));
  }),
  path("twenty accept invitations at once", async ({ ada, organization, signUp }) => {
    const organizationId = await organization();
    const acceptances = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const guest = await signUp(`Guest${index}`);
        const invitationId = await invite(ada, organizationId, guest.email);
        return () => accept(guest, invitationId);
      }),
    );
    return () => Promise.all(acceptances.map((accept) => accept()));
  }),
  path("reject an invitation", async ({ ada, organization, signUp }) => {
    const bob = await signUp("Bob");
    const invitationId = await invite(ada, await organization(), bob.email);
    return async () =>
      must(await bob.client.post("/organization/reject-invitation", { invitationId }));
  }),
  path("remove a member by id", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId, "admin");
    return async () => must(await remove(ada, organizationId, bob));
  }),
  path("remove a member by address", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    const body = { organizationId, memberIdOrEmail: bob.email };
    return async () => must(await ada.client.post("/organization/remove-member", body));
  }),
  path("remove a member without permission", async ({ organization, join }) => {
    const organizationId = await organization();
    const [bob, carol] = [await join(organizationId), await join(organizationId)];
    return () => remove(bob, organizationId, carol);
  }),
  path("remove a member that a hook keeps", async ({ ada, organization, join, hooks }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    hooks.removeMember = veto;
    return () => remove(ada, organizationId, bob);
  }),
  path("remove a member who is in a team", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    const team = must(
      await ada.client.post("/organization/create-team", { name: "t", organizationId }),
    );
    must(
      await ada.client.post("/organization/add-team-member", {
        teamId: team.body.id,
        userId: bob.userId,
        organizationId,
      }),
    );
    return async () => must(await remove(ada, organizationId, bob));
  }),
  path("remove a member twice at once", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return () => twice(() => remove(ada, organizationId, bob));
  }),
  path("leave", async ({ organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return async () => must(await leave(bob, organizationId));
  }),
  path("leave as the last owner", async ({ ada, organization }) => {
    const organizationId = await organization();
    return () => leave(ada, organizationId);
  }),
  path("leave twice at once", async ({ organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return () => twice(() => leave(bob, organizationId));
  }),
  path("leave, and be removed, at once", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return () => Promise.all([leave(bob, organizationId), remove(ada, organizationId, bob)]);
  }),
  path("change a role", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return async () => must(await setRole(ada, organizationId, bob, "admin"));
  }),
  path("change a role to two", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return async () => must(await setRole(ada, organizationId, bob, ["member", "admin"]));
  }),
  path("change a role to what it is", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId, "admin");
    return async () => must(await setRole(ada, organizationId, bob, "admin"));
  }),
  path("change a role with a hook that changes it again", async (server) => {
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    server.hooks.updateMemberRole = () => ({ data: { role: "owner" } });
    return async () => must(await setRole(server.ada, organizationId, bob, "admin"));
  }),
  path("change a role that a hook keeps", async ({ ada, organization, join, hooks }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    hooks.updateMemberRole = veto;
    return () => setRole(ada, organizationId, bob, "admin");
  }),
  path("change a role without permission", async ({ organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return () => setRole(bob, organizationId, bob, "owner");
  }),
  path("change a role to an unknown one", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return () => setRole(ada, organizationId, bob, "emperor");
  }),
  path("change a role twice at once, to the same", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return () => twice(() => setRole(ada, organizationId, bob, "admin"));
  }),
  pathInSteps("change a role twice at once, to two others", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    const roles = ["admin", "owner"];
    return () => Promise.all(roles.map((role) => setRole(ada, organizationId, bob, role)));
  }),
  pathInSteps("change a role, and remove the member, at once", async (server) => {
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    return () =>
      Promise.all([
        setRole(server.ada, organizationId, bob, "admin"),
        remove(server.ada, organizationId, bob),
      ]);
  }),
  path("delete an organization", async ({ ada, organization, join }) => {
    const organizationId = await organization();
    await join(organizationId);
    await join(organizationId, "admin");
    return async () => must(await deleteOrganization(ada, organizationId));
  }),
  ...[100, 250].map((count) =>
    path(`delete an organization of ${count} members`, async ({ ada, organization, fill }) => {
      const organizationId = await organization();
      await fill(count - 1, organizationId);
      return async () => must(await deleteOrganization(ada, organizationId));
    }),
  ),
  path("delete an organization without permission", async ({ organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return () => deleteOrganization(bob, organizationId);
  }),
  path("delete an organization that a hook keeps", async ({ ada, organization, hooks }) => {
    const organizationId = await organization();
    hooks.deleteOrganization = veto;
    return () => deleteOrganization(ada, organizationId);
  }),
  path("delete an organization twice at once", async ({ ada, organization, fill }) => {
    const organizationId = await organization();
    await fill(20, organizationId);
    return () => twice(() => deleteOrganization(ada, organizationId));
  }),
  path("delete an organization while five leave it", async ({ ada, organization, fill, join }) => {
    const organizationId = await organization();
    await fill(20, organizationId);
    const members = await Promise.all(Array.from({ length: 5 }, () => join(organizationId)));
    return () =>
      Promise.all([
        ...members.slice(2).map((member) => leave(member, organizationId)),
        deleteOrganization(ada, organizationId),
        ...members.slice(0, 2).map((member) => leave(member, organizationId)),
      ]);
  }),
  path("rename an organization, make a team, and make it active", async ({ ada, organization }) => {
    const organizationId = await organization();
    return async () => {
      const data = { name: "renamed" };
      must(await ada.client.post("/organization/update", { organizationId, data }));
      must(await ada.client.post("/organization/create-team", { name: "t", organizationId }));
      must(await ada.client.post("/organization/set-active", { organizationId }));
    };
  }),
];

const serverSideCalls: Path[] = [
  path("auth.api.addMember", async ({ auth, organization, signUp }) => {
    const [{ userId }, organizationId] = [await signUp("Bob"), await organization()];
    return () => auth.api["addMember"]!({ body: { userId, organizationId, role: "admin" } });
  }),
  path("auth.api.addMember, of somebody who is a member", async ({ auth, organization, join }) => {
    const organizationId = await organization();
    const { userId } = await join(organizationId);
    const body = { userId, organizationId, role: "admin" };
    return () => failed(auth.api["addMember"]!({ body }));
  }),
  pathInSteps("auth.api.addMember, taken back, for the team is full", async (server) => {
    const { ada, auth, organization, signUp } = server;
    const [{ userId }, organizationId] = [await signUp("Bob"), await organization()];
    const team = must(
      await ada.client.post("/organization/create-team", { name: "t", organizationId }),
    );
    const teamId = team.body.id;
    for (const role of ["member", "member", "member"]) {
      const guest = await server.signUp("Guest");
      await auth.api["addMember"]!({
        body: { userId: guest.userId, organizationId, role, teamId },
      });
    }
    const body = { userId, organizationId, role: "member", teamId };
    return () => failed(auth.api["addMember"]!({ body }));
  }),
  path("auth.api.createOrganization", async ({ auth, ada: { userId } }) => {
    const body = { name: "new", slug: randomUUID(), userId };
    return () => auth.api["createOrganization"]!({ body });
  }),
  path("auth.api.removeMember", async ({ auth, ada, organization, join }) => {
    const organizationId = await organization();
    const { email } = await join(organizationId);
    const body = { organizationId, memberIdOrEmail: email };
    return () => auth.api["removeMember"]!({ body, headers: ada.client.headers });
  }),
  path("auth.api.updateMemberRole", async ({ auth, ada, organization, join }) => {
    const organizationId = await organization();
    const { memberId } = await join(organizationId);
    const body = { organizationId, memberId, role: "admin" };
    return () => auth.api["updateMemberRole"]!({ body, headers: ada.client.headers });
  }),
  path("auth.api.leaveOrganization", async ({ auth, organization, join }) => {
    const organizationId = await organization();
    const { client } = await join(organizationId);
    return () =>
      auth.api["leaveOrganization"]!({ body: { organizationId }, headers: client.headers });
  }),
  path("auth.api.deleteOrganization", async ({ auth, ada, organization, join }) => {
    const organizationId = await organization();
    await join(organizationId);
    return () =>
      auth.api["deleteOrganization"]!({ body: { organizationId }, headers: ada.client.headers });
  }),
  path("auth.api.deleteUser", async ({ auth, organization, join }) => {
    const { client } = await join(await organization());
    return () => auth.api["deleteUser"]!({ body: { password }, headers: client.headers });
  }),
  path("auth.api.removeUser", async ({ auth, root, organization, join }) => {
    const { userId } = await join(await organization());
    return () => auth.api["removeUser"]!({ body: { userId }, headers: root.client.headers });
  }),
];

const accounts: Path[] = [
  path("delete an account without memberships", async ({ signUp }) => {
    const bob = await signUp("Bob");
    return async () => must(await deleteAccount(bob));
  }),
  path("delete an account with memberships", async ({ organization, join }) => {
    const bob = await join(await organization(), "admin");
    await join(await organization(), "owner", bob);
    return async () => must(await deleteAccount(bob));
  }),
  path("delete an account that owns an organization", async ({ signUp }) => {
    const bob = await signUp("Bob");
    await createOrganization(bob, "bobs");
    return async () => must(await deleteAccount(bob));
  }),
  path("delete an account with 120 memberships", async ({ signUp, organizations }) => {
    const bob = await signUp("Bob");
    await organizations(120, bob);
    return async () => must(await deleteAccount(bob));
  }),
  path("delete an account by a link that redirects", async (server) => {
    const [bob, link] = await confirmation(server);
    return () => bob.client.get(`${link}&callbackURL=${encodeURIComponent("/bye")}`);
  }),
  path("delete an account by a link", async (server) => {
    const [bob, link] = await confirmation(server);
    return async () => must(await bob.client.get(link));
  }),
  path("delete an account by a link twice at once", async (server) => {
    const [bob, link] = await confirmation(server);
    return () => twice(() => bob.client.get(link));
  }),
  path("delete an account by a wrong link", async (server) => {
    const [bob, link] = await confirmation(server);
    return () => bob.client.get(`${link}x`);
  }),
  path("delete an account with a wrong password", async ({ organization, join }) => {
    const bob = await join(await organization());
    return () => bob.client.post("/delete-user", { password: "wrong password" });
  }),
  path("delete an account without being signed in", async ({ organization, join }) => {
    const bob = await join(await organization());
    must(await bob.client.post("/sign-out"));
    return () => deleteAccount(bob);
  }),
  path("delete an account that a database hook vetoes", async (server) => {
    const bob = await server.join(await server.organization());
    server.hooks.deleteUser = () => false;
    return () => deleteAccount(bob);
  }),
  path("delete an account while a database hook throws", async (server) => {
    const bob = await server.join(await server.organization());
    server.hooks.deleteUser = veto;
    return () => deleteAccount(bob);
  }),
  path("delete an account that beforeDelete vetoes", async (server) => {
    const bob = await server.join(await server.organization());
    server.hooks.beforeDeleteUser = veto;
    return () => deleteAccount(bob);
  }),
  path("delete an account twice at once", async ({ organization, join }) => {
    const bob = await join(await organization());
    return () => twice(() => deleteAccount(bob));
  }),
  path("delete an account, and remove its membership, at once", async (server) => {
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    return () => Promise.all([deleteAccount(bob), remove(server.ada, organizationId, bob)]);
  }),
  path("delete an account, and leave, at once", async ({ organization, join }) => {
    const organizationId = await organization();
    const bob = await join(organizationId);
    return () => Promise.all([leave(bob, organizationId), deleteAccount(bob)]);
  }),
  path("delete an account, and its organization, at once", async (server) => {
    const organizationId = await server.organization();
    const bob = await server.join(organizationId);
    return () => Promise.all([deleteAccount(bob), deleteOrganization(server.ada, organizationId)]);
  }),
  path("five members delete their accounts while the organization is deleted", async (server) => {
    const organizationId = await server.organization();
    const people = await Promise.all(Array.from({ length: 5 }, () => server.join(organizationId)));
    return () =>
      Promise.all([
        ...people.slice(2).map(deleteAccount),
        deleteOrganization(server.ada, organizationId),
        ...people.slice(0, 2).map(deleteAccount),
      ]);
  }),
  path("sign up, sign in, change a password, sign out", async ({ client }) => {
    const bob = { name: "Bob", email: `bob-${randomUUID()}@example.com`, password };
    const browser = client();
    return async () => {
      must(await browser.post("/sign-up/email", bob));
      must(await browser.post("/sign-out"));
      must(await browser.post("/sign-in/email", bob));
      must(await browser.post("/update-user", { name: "Bobby" }));
      must(
        await browser.post("/change-password", {
          currentPassword: password,
          newPassword: "another password",
          revokeOtherSessions: true,
        }),
      );
    };
  }),
];

const adminRoutes: Path[] = [
  path("an admin removes a user", async ({ root, organization, join }) => {
    const bob = await join(await organization(), "admin");
    await join(await organization(), "member", bob);
    return async () => must(await removeUser(root, bob));
  }),
  path("an admin removes a user whom a database hook keeps", async (server) => {
    const bob = await server.join(await server.organization());
    server.hooks.deleteUser = () => false;
    return () => removeUser(server.root, bob);
  }),
  path("an admin removes an unknown user", async ({ root }) => {
    return () => root.client.post("/admin/remove-user", { userId: "1000000" });
  }),
  path("somebody who is no admin removes a user", async ({ ada, organization, join }) => {
    const bob = await join(await organization());
    return () => removeUser(ada, bob);
  }),
  path("an admin removes a user twice at once", async ({ root, organization, join }) => {
    const bob = await join(await organization());
    return () => twice(() => removeUser(root, bob));
  }),
  path("an admin removes a user who deletes the account at once", async (server) => {
    const bob = await server.join(await server.organization());
    return () => Promise.all([removeUser(server.root, bob), deleteAccount(bob)]);
  }),
  path("an admin creates, promotes, bans and unbans a user", async ({ root }) => {
    const email = `carol-${randomUUID()}@example.com`;
    return async () => {
      const carol = { name: "Carol", email, password, role: "user" };
      const { body } = must(await root.client.post("/admin/create-user", carol));
      const userId = body.user.id;
      must(await root.client.post("/admin/set-role", { userId, role: "admin" }));
      must(await root.client.post("/admin/ban-user", { userId }));
      must(await root.client.post("/admin/unban-user", { userId }));
    };
  }),
];

const anonymousRoutes: Path[] = [
  path("sign in anonymously", async ({ client }) => {
    const browser = client();
    return async () => must(await browser.post("/sign-in/anonymous"));
  }),
  path("sign up after an anonymous sign-in", async ({ client }) => {
    const browser = client();
    must(await browser.post("/sign-in/anonymous"));
    const bob = { name: "Bob", email: `bob-${randomUUID()}@example.com`, password };
    return async () => must(await browser.post("/sign-up/email", bob));
  }),
  path("sign in after an anonymous sign-in, with a membership", async (server) => {
    const { email } = await server.signUp("Bob");
    const guest = await anonymousMember(server);
    return async () => must(await guest.client.post("/sign-in/email", { email, password }));
  }),
  path("sign in after an anonymous sign-in, whose user a hook keeps", async (server) => {
    const { email } = await server.signUp("Bob");
    const guest = await anonymousMember(server);
    server.hooks.deleteUser = () => false;
    return () => guest.client.post("/sign-in/email", { email, password });
  }),
  path("delete an anonymous user", async (server) => {
    const guest = await anonymousMember(server);
    return async () => must(await guest.client.post("/delete-anonymous-user"));
  }),
  path("delete an anonymous user twice at once", async (server) => {
    const guest = await anonymousMember(server);
    return () => twice(() => guest.client.post("/delete-anonymous-user"));
  }),
];

const ssoRoutes: Path[] = [
  path("sign in by SSO for the first time", async (server) => {
    const provider = await server.ssoProvider(await server.organization());
    return signInBySso(server, provider.providerId, `bob@${provider.domain}`);
  }),
  path("sign in by SSO for the first time, as an admin", async (server) => {
    const provider = await server.ssoProvider(await server.organization());
    return signInBySso(server, provider.providerId, `admin@${provider.domain}`);
  }),
  path("sign in by SSO for the second time", async (server) => {
    const provider = await server.ssoProvider(await server.organization());
    const email = `bob@${provider.domain}`;
    await (
      await signInBySso(server, provider.providerId, email)
    )();
    return signInBySso(server, provider.providerId, email);
  }),
  path("sign in by SSO that belongs to no organization", async (server) => {
    const provider = await server.ssoProvider(null);
    return signInBySso(server, provider.providerId, `bob@${provider.domain}`);
  }),
  path("sign in by SSO while an invitation waits", async (server) => {
    const organizationId = await server.organization();
    const provider = await server.ssoProvider(organizationId);
    const email = `bob@${provider.domain}`;
    await invite(server.ada, organizationId, email);
    return signInBySso(server, provider.providerId, email);
  }),
  path("sign in by GitLab with an address in an organization's verified domain", async (server) => {
    const { domain } = await server.ssoProvider(await server.organization());
    return signInByGitlab(server, `bob@${domain}`);
  }),
  path("sign in by GitLab with any other address", async (server) => {
    return signInByGitlab(server, `bob@${randomUUID()}.example.com`);
  }),
];

const scimRoutes: Path[] = [
  path("SCIM creates a user", async (server) => {
    return () => scim(server, "POST", "/Users", scimUser(), 201);
  }),
  path("SCIM creates a user whom the app refuses", async (server) => {
    server.hooks.provision = veto;
    return () => scim(server, "POST", "/Users", scimUser());
  }),
  path("SCIM deactivates a user", async (server) => {
    const user = await scim(server, "POST", "/Users", scimUser(), 201);
    return () => scim(server, "PATCH", `/Users/${user.id}`, replace("active", false));
  }),
  path("SCIM deactivates a user, and the app refuses", async (server) => {
    const user = await scim(server, "POST", "/Users", scimUser(), 201);
    server.hooks.provision = veto;
    return () => scim(server, "PATCH", `/Users/${user.id}`, replace("active", false));
  }),
  path("SCIM reactivates a user", async (server) => {
    const user = await scim(server, "POST", "/Users", { ...scimUser(), active: false }, 201);
    return () => scim(server, "PATCH", `/Users/${user.id}`, replace("active", true));
  }),
  path("SCIM replaces a user", async (server) => {
    const user = scimUser();
    const { id } = await scim(server, "POST", "/Users", user, 201);
    return () => scim(server, "PUT", `/Users/${id}`, { ...user, displayName: "Robert" });
  }),
  path("SCIM deletes a user", async (server) => {
    const user = await scim(server, "POST", "/Users", scimUser(), 201);
    return () => scim(server, "DELETE", `/Users/${user.id}`);
  }),
  path("SCIM puts a user into a group that is a role", async (server) => {
    const user = await scim(server, "POST", "/Users", scimUser(), 201);
    const group = {
      schemas: ["urn:ietf:params:scim:schemas:core:2.0:Group"],
      displayName: "admin",
      members: [{ value: user.id }],
    };
    return () => scim(server, "POST", "/Groups", group, 201);
  }),
  path("SCIM creates three users at once", async (server) => {
    const users = [scimUser(), scimUser(), scimUser()];
    return () => Promise.all(users.map((user) => scim(server, "POST", "/Users", user, 201)));
  }),
];

const adapterCalls: Path[] = [
  path("adapter.create", async ({ join, organization }) => {
    const organizationId = await organization();
    return () => join(organizationId, "admin");
  }),
  path("adapter.create with fields to select", async ({ adapter, organization, signUp }) => {
    const [{ userId }, organizationId] = [await signUp("Bob"), await organization()];
    const data = { organizationId, userId, role: "member", createdAt: new Date() };
    return () => adapter.create({ model: "member", data, select: ["id"] });
  }),
  path("adapter.create of a user who is not there", async ({ adapter, organization }) => {
    const data = {
      organizationId: await organization(),
      userId: "1000000",
      role: "member",
      createdAt: new Date(),
    };
    return () => failed(adapter.create({ model: "member", data }));
  }),
  path("adapter.update of a role", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization());
    const update = { role: "admin" };
    return () => adapter.update({ model: "member", where: byId(memberId), update });
  }),
  path("adapter.update by organization and user", async ({ adapter, join, organization }) => {
    const organizationId = await organization();
    const { userId } = await join(organizationId);
    const where = [
      { field: "organizationId", value: organizationId },
      { field: "userId", value: userId },
    ];
    return () => adapter.update({ model: "member", where, update: { role: "admin" } });
  }),
  path("adapter.update of something else", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization());
    const update = { createdAt: new Date() };
    return () => adapter.update({ model: "member", where: byId(memberId), update });
  }),
  path("adapter.update of a member who is not there", async ({ adapter }) => {
    const update = { role: "admin" };
    return () => adapter.update({ model: "member", where: byId("1000000"), update });
  }),
  path("adapter.update to another user", async ({ adapter, join, organization, signUp }) => {
    const { memberId } = await join(await organization());
    const { userId } = await signUp("Carol");
    return () => adapter.update({ model: "member", where: byId(memberId), update: { userId } });
  }),
  path("adapter.update to another organization and role", async (server) => {
    const { memberId } = await server.join(await server.organization());
    const update = { organizationId: await server.organization(), role: "admin" };
    return () => server.adapter.update({ model: "member", where: byId(memberId), update });
  }),
  path("adapter.update to a user who is not there", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization());
    const update = { userId: "1000000" };
    return () => failed(adapter.update({ model: "member", where: byId(memberId), update }));
  }),
  path("adapter.updateMany of 150 roles", async ({ adapter, organization, fill }) => {
    const organizationId = await organization();
    await fill(150, organizationId);
    const where = [
      { field: "organizationId", value: organizationId },
      { field: "role", value: "member" },
    ];
    return () => adapter.updateMany({ model: "member", where, update: { role: "editor" } });
  }),
  path("adapter.updateMany to the role that some have", async ({ adapter, organization, join }) => {
    const organizationId = await organization();
    await join(organizationId, "admin");
    await join(organizationId);
    const where = [{ field: "organizationId", value: organizationId }];
    return () => adapter.updateMany({ model: "member", where, update: { role: "admin" } });
  }),
  path("adapter.updateMany by two conditions, either of which will do", async (server) => {
    const organizationId = await server.organization();
    const bob = await server.join(organizationId, "admin");
    const carol = await server.join(organizationId);
    const where: Where[] = [
      { field: "id", value: bob.memberId, connector: "OR" },
      { field: "id", value: carol.memberId, connector: "OR" },
    ];
    return () => server.adapter.updateMany({ model: "member", where, update: { role: "owner" } });
  }),
  path("adapter.incrementOne that sets a role", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization());
    const where = byId(memberId);
    return () =>
      adapter.incrementOne({ model: "member", where, increment: {}, set: { role: "admin" } });
  }),
  path("adapter.delete", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization());
    return () => adapter.delete({ model: "member", where: byId(memberId) });
  }),
  path("adapter.delete by organization and user", async ({ adapter, join, organization }) => {
    const organizationId = await organization();
    const { userId } = await join(organizationId);
    const where = [
      { field: "organizationId", value: organizationId },
      { field: "userId", value: userId },
    ];
    return () => adapter.delete({ model: "member", where });
  }),
  path("adapter.delete of a member who is not there", async ({ adapter }) => {
    return () => adapter.delete({ model: "member", where: byId("1000000") });
  }),
  path("adapter.deleteMany of 150 members", async ({ adapter, organization, fill }) => {
    const organizationId = await organization();
    await fill(150, organizationId);
    const where = [
      { field: "organizationId", value: organizationId },
      { field: "role", value: "member" },
    ];
    return () => adapter.deleteMany({ model: "member", where });
  }),
  path("adapter.deleteMany twice at once", async ({ adapter, organization, fill }) => {
    const where = [{ field: "organizationId", value: await organization() }];
    await fill(20, where[0]!.value);
    return () => twice(() => adapter.deleteMany({ model: "member", where }));
  }),
  path("adapter.consumeOne", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization(), "admin");
    return () => adapter.consumeOne({ model: "member", where: byId(memberId) });
  }),
  path("adapter.consumeOne twice at once", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization());
    return () => twice(() => adapter.consumeOne({ model: "member", where: byId(memberId) }));
  }),
  ...(["delete", "deleteMany", "consumeOne"] as const).flatMap((method) => [
    path(`adapter.${method} of a user`, async ({ adapter, join, organization }) => {
      const bob = await join(await organization(), "admin");
      await join(await organization(), "member", bob);
      return () => adapter[method]({ model: "user", where: byId(bob.userId) });
    }),
    path(`adapter.${method} of an organization`, async ({ adapter, join, organization }) => {
      const organizationId = await organization();
      await join(organizationId);
      return () => adapter[method]({ model: "organization", where: byId(organizationId) });
    }),
  ]),
  path("adapter.deleteMany of three users", async ({ adapter, fill, organization }) => {
    const ids = await fill(3, await organization());
    const where: Where[] = [{ field: "id", operator: "in", value: ids }];
    return () => adapter.deleteMany({ model: "user", where });
  }),
  path("internalAdapter.deleteUser", async ({ context, join, organization }) => {
    const { userId } = await join(await organization());
    return () => context.internalAdapter.deleteUser(userId);
  }),
  path("internalAdapter.deleteUser of a user who is not there", async ({ context }) => {
    return () => context.internalAdapter.deleteUser("1000000");
  }),
];

const transactions: Path[] = [
  path("a transaction that is committed", async ({ adapter, join, organization, signUp }) => {
    const organizationId = await organization();
    const [bob, carol] = [await join(organizationId), await join(organizationId)];
    const { userId } = await signUp("Dave");
    return () =>
      adapter.transaction(async (transaction) => {
        await transaction.delete({ model: "member", where: byId(bob.memberId) });
        await transaction.update({
          model: "member",
          where: byId(carol.memberId),
          update: { role: "admin" },
        });
        const data = { organizationId, userId, role: "member", createdAt: new Date() };
        await transaction.create({ model: "member", data });
      });
  }),
  pathInSteps("a transaction that is rolled back", async ({ adapter, join, organization }) => {
    const { memberId, userId } = await join(await organization());
    return () =>
      failed(
        adapter.transaction(async (transaction) => {
          await transaction.update({
            model: "member",
            where: byId(memberId),
            update: { role: "admin" },
          });
          await transaction.delete({ model: "user", where: byId(userId) });
          throw new Error("rolled back");
        }),
      );
  }),
  pathInSteps("a transaction in which a member comes and goes", async (server) => {
    const { adapter, organization, signUp } = server;
    const [{ userId }, organizationId] = [await signUp("Bob"), await organization()];
    const data = { organizationId, userId, role: "member", createdAt: new Date() };
    return () =>
      adapter.transaction(async (transaction) => {
        const { id } = await transaction.create<object, { id: string }>({ model: "member", data });
        await transaction.deleteMany({ model: "member", where: byId(id) });
      });
  }),
  path(
    "a user deleted by way of runWithTransaction",
    async ({ context, adapter, join, organization }) => {
      const { userId } = await join(await organization());
      return () => runWithTransaction(adapter, () => context.internalAdapter.deleteUser(userId));
    },
  ),
  path("a user deleted by way of runWithTransaction, and rolled back", async (server) => {
    const { userId } = await server.join(await server.organization());
    return () =>
      failed(
        runWithTransaction(server.adapter, async () => {
          await server.context.internalAdapter.deleteUser(userId);
          throw new Error("rolled back");
        }),
      );
  }),
  path("a transaction within a transaction", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization());
    return () =>
      runWithTransaction(adapter, () =>
        runWithTransaction(adapter, async () => {
          const transaction = await getCurrentAdapter(adapter);
          await transaction.delete({ model: "member", where: byId(memberId) });
        }),
      );
  }),
  path("a transaction within a transaction that fails, and is caught", async (server) => {
    const { memberId } = await server.join(await server.organization());
    return () =>
      server.adapter.transaction((transaction) =>
        failed(
          // It has the method, though its type leaves it out.
          (transaction as typeof server.adapter).transaction(async (nested) => {
            await nested.delete({ model: "member", where: byId(memberId) });
            throw new Error("caught by the outer one");
          }),
        ),
      );
  }),
  path("runWithTransaction within itself that fails, and is caught", async (server) => {
    const { userId } = await server.join(await server.organization());
    return () =>
      runWithTransaction(server.adapter, () =>
        failed(
          runWithTransaction(server.adapter, async () => {
            await server.context.internalAdapter.deleteUser(userId);
            throw new Error("caught by the outer one");
          }),
        ),
      );
  }),
  path("two changes at once within a transaction", async ({ adapter, join, organization }) => {
    const { memberId } = await join(await organization());
    const change = { model: "member", where: byId(memberId), update: { role: "admin" } };
    return () => adapter.transaction((transaction) => twice(() => transaction.update(change)));
  }),
];

export const paths: readonly Path[] = [
  ...organizationRoutes,
  ...serverSideCalls,
  ...accounts,
  ...adminRoutes,
  ...anonymousRoutes,
  ...ssoRoutes,
  ...scimRoutes.map((path) => ({ ...path, needsTransactions: true as const })),
  ...adapterCalls,
  ...transactions,
];

/** Returns somebody with a membership, and the link that deletes the account. */
async function confirmation({ url, context, join, organization }: Server) {
  const bob = await join(await organization());
  const token = randomUUID();
  await context.internalAdapter.createVerificationValue({
    identifier: `delete-account-${token}`,
    value: bob.userId,
    expiresAt: new Date(Date.now() + 60_000),
  });
  return [bob, `${url}/api/auth/delete-user/callback?token=${token}`] as const;
}

async function anonymousMember({ client, join, organization }: Server): Promise<Member> {
  const browser = client();
  const { body } = must(await browser.post("/sign-in/anonymous"));
  const { id: userId, name, email } = body.user;
  return join(await organization(), "member", { name, email, userId, client: browser });
}

async function signInBySso({ client, url }: Server, providerId: string, email: string) {
  const browser = client();
  const { body } = must(
    await browser.post("/sign-in/sso", { providerId, callbackURL: `${url}/welcome` }),
  );
  return () => comeBack(browser, `${url}/api/auth/sso/callback/${providerId}`, body.url, email);
}

async function signInByGitlab({ client, url }: Server, email: string) {
  const browser = client();
  const { body } = must(
    await browser.post("/sign-in/social", { provider: "gitlab", callbackURL: `${url}/welcome` }),
  );
  return () => comeBack(browser, `${url}/api/auth/callback/gitlab`, body.url, email);
}

/** What the browser does once the provider has sent it back. */
async function comeBack(
  browser: TestUser["client"],
  callback: string,
  authorizationUrl: string,
  email: string,
) {
  const state = new URL(authorizationUrl).searchParams.get("state")!;
  const query = new URLSearchParams({ code: email, state });
  const { location } = await browser.get(`${callback}?${query}`);
  if (!location?.endsWith("/welcome")) throw new Error(`signing in led to ${location}`);
}

async function scim(
  { client }: Server,
  method: string,
  route: string,
  body: object = {},
  expected?: number,
) {
  const answer = await client().send(method, `/scim/v2${route}`, body, {
    authorization: `Bearer ${scimToken}`,
    "content-type": "application/scim+json",
  });
  if (expected !== undefined && answer.status !== expected) {
    throw new Error(`SCIM answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  }
  return answer.body;
}

function scimUser() {
  const userName = `bob-${randomUUID()}@example.com`;
  return {
    schemas: ["urn:ietf:params:scim:schemas:core:2.0:User"],
    userName,
    emails: [{ value: userName, primary: true }],
    active: true,
  };
}

function replace(path: string, value: unknown) {
  return {
    schemas: ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    Operations: [{ op: "replace", path, value }],
  };
}
