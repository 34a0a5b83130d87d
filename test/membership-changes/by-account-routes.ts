import { randomUUID } from "node:crypto";
import { must, password, type TestUser } from "../fixtures/users";
import {
  atOnce,
  change,
  deleteAccount,
  deleteOrganization,
  preparedChange,
  remove,
  twiceAtOnce,
  type MembershipChange,
  type Scenario,
} from "./membership-change";

const accounts: MembershipChange[] = [
  preparedChange("delete an account with two memberships", async (scenario) => {
    await scenario.join(await scenario.organization(), "owner", scenario.bob);
    return async () => must(await deleteAccount(scenario.bob));
  }),
  preparedChange("delete an account by a link", async (scenario) => {
    const link = await createDeletionLink(scenario);
    return async () => must(await scenario.bob.client.get(link));
  }),
  change("delete an account that a database hook keeps", ({ bob, hooks }) => {
    hooks.deleteUser = () => false;
    return deleteAccount(bob);
  }),
  twiceAtOnce("delete an account", ({ bob }) => deleteAccount(bob)),
  atOnce("delete an account, and remove its membership", ({ ada, bob, organizationId }) => [
    deleteAccount(bob),
    remove(ada, organizationId, bob.memberId),
  ]),
  atOnce("delete an account, and its organization", ({ ada, bob, organizationId }) => [
    deleteAccount(bob),
    deleteOrganization(ada, organizationId),
  ]),
  change("sign up, sign in, change a password, sign out", async ({ client }) => {
    const dave = { name: "Dave", email: `dave-${randomUUID()}@example.com`, password };
    const changed = { currentPassword: password, newPassword: "another password" };
    const browser = client();
    must(await browser.post("/sign-up/email", dave));
    must(await browser.post("/sign-out"));
    must(await browser.post("/sign-in/email", dave));
    must(await browser.post("/change-password", { ...changed, revokeOtherSessions: true }));
  }),
];

const removeUser = (by: TestUser, userId: string) =>
  by.client.post("/admin/remove-user", { userId });

const adminRoutes: MembershipChange[] = [
  change("an admin removes a user", async ({ root, carol }) =>
    must(await removeUser(root, carol.userId)),
  ),
  change("a user who is not an admin removes another", ({ ada, bob }) =>
    removeUser(ada, bob.userId),
  ),
  twiceAtOnce("an admin removes a user", ({ root, bob }) => removeUser(root, bob.userId)),
];

/** An anonymous user with a membership. */
async function createGuest({ client, join, organizationId }: Scenario) {
  const browser = client();
  const { body } = must(await browser.post("/sign-in/anonymous"));
  const { id: userId, name, email } = body.user;
  return join(organizationId, "member", { name, email, userId, client: browser });
}

const anonymousRoutes: MembershipChange[] = [
  preparedChange("sign up after an anonymous sign-in", async ({ client }) => {
    const browser = client();
    must(await browser.post("/sign-in/anonymous"));
    const dave = { name: "Dave", email: `dave-${randomUUID()}@example.com`, password };
    return async () => must(await browser.post("/sign-up/email", dave));
  }),
  preparedChange("sign in after an anonymous sign-in, with a membership", async (scenario) => {
    const { email } = scenario.bob;
    const guest = await createGuest(scenario);
    return async () => must(await guest.client.post("/sign-in/email", { email, password }));
  }),
  preparedChange("delete an anonymous user", async (scenario) => {
    const guest = await createGuest(scenario);
    return async () => must(await guest.client.post("/delete-anonymous-user"));
  }),
];

export const byAccountRoutes = [...accounts, ...adminRoutes, ...anonymousRoutes];

/** Returns the link that deletes Bob's account. */
async function createDeletionLink({ url, context, bob }: Scenario): Promise<string> {
  const token = randomUUID();
  await context.internalAdapter.createVerificationValue({
    identifier: `delete-account-${token}`,
    value: bob.userId,
    expiresAt: new Date(Date.now() + 60_000),
  });
  return `${url}/api/auth/delete-user/callback?token=${token}`;
}
