import { randomUUID } from "node:crypto";
import { expectOk, password } from "../fixtures/users";
import {
  atOnce,
  change,
  deleteAccount,
  preparedChange,
  remove,
  twiceAtOnce,
  type MembershipChange,
  type Scenario,
} from "./membership-change";

export const byAccountRoutes: MembershipChange[] = [
  preparedChange("delete an account with two memberships", async (scenario) => {
    await scenario.join(await scenario.organization(), "owner", scenario.bob);
    return async () => expectOk(await deleteAccount(scenario.bob));
  }),
  preparedChange("delete an account by a link", async ({ url, context, bob }) => {
    const token = randomUUID();
    await context.internalAdapter.createVerificationValue({
      identifier: `delete-account-${token}`,
      value: bob.userId,
      expiresAt: new Date(Date.now() + 60_000),
    });
    const link = `${url}/api/auth/delete-user/callback?token=${token}`;
    return async () => expectOk(await bob.client.get(link));
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
  change("an admin removes a user", async ({ root, carol: { userId } }) =>
    expectOk(await root.client.post("/admin/remove-user", { userId })),
  ),
  preparedChange("sign in after an anonymous sign-in, with a membership", async (scenario) => {
    const { email } = scenario.bob;
    const guest = await createGuest(scenario);
    return async () => expectOk(await guest.client.post("/sign-in/email", { email, password }));
  }),
  preparedChange("delete an anonymous user", async (scenario) => {
    const guest = await createGuest(scenario);
    return async () => expectOk(await guest.client.post("/delete-anonymous-user"));
  }),
];

/** An anonymous user with a membership. */
async function createGuest({ client, join, organizationId }: Scenario) {
  const browser = client();
  const { body } = expectOk(await browser.post("/sign-in/anonymous"));
  const { id: userId, name, email } = body.user;
  return join(organizationId, "member", { name, email, userId, client: browser });
}
