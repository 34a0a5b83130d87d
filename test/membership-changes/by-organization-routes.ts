import { accept, createOrganization, invite, expectOk } from "../fixtures/users";
import {
  atOnce,
  change,
  deleteAccount,
  deleteOrganization,
  leave,
  preparedChange,
  remove,
  setRole,
  severalTimes,
  twiceAtOnce,
  veto,
  type MembershipChange,
  type Scenario,
} from "./membership-change";

export const byOrganizationRoutes: MembershipChange[] = [
  change("create an organization", ({ ada }) => createOrganization(ada, "new")),
  change("create an organization with a hook that sets the owner's role", ({ ada, hooks }) => {
    hooks.addMember = () => ({ data: { role: "admin" } });
    return createOrganization(ada, "new");
  }),
  change("create an organization with a hook that refuses the owner", ({ ada, hooks }) => {
    hooks.addMember = veto;
    return createOrganization(ada, "new");
  }),

  ...["owner", ["member", "admin"]].map((role) =>
    preparedChange(`accept an invitation as ${String(role)}`, async (scenario) => {
      const acceptIt = await inviteDave(scenario, role);
      return async () => expectOk(await acceptIt());
    }),
  ),
  preparedChange("accept an invitation to a team", async (scenario) => {
    const { ada, dave, organizationId } = scenario;
    const teamId = await createTeam(scenario);
    const invitation = { organizationId, email: dave.email, role: "member", teamId };
    const { body } = expectOk(await ada.client.post("/organization/invite-member", invitation));
    return async () => expectOk(await accept(dave, body.id));
  }),
  preparedChange("accept an invitation, and fail after the member is added", async (scenario) => {
    const acceptIt = await inviteDave(scenario, "member");
    scenario.hooks.updateSession = veto;
    return acceptIt;
  }),
  {
    ...preparedChange("accept an invitation twice at once", async (scenario) => {
      const acceptIt = await inviteDave(scenario, "member");
      return () => Promise.all([acceptIt(), acceptIt()]);
    }),
    concurrent: true,
  },

  change("remove a member by id", async ({ ada, carol, organizationId }) =>
    expectOk(await remove(ada, organizationId, carol.memberId)),
  ),
  change("remove a member that a hook keeps", ({ ada, bob, hooks, organizationId }) => {
    hooks.removeMember = veto;
    return remove(ada, organizationId, bob.memberId);
  }),
  twiceAtOnce("remove a member", ({ ada, bob, organizationId }) =>
    remove(ada, organizationId, bob.memberId),
  ),
  change("leave", async ({ bob, organizationId }) => expectOk(await leave(bob, organizationId))),
  twiceAtOnce("leave", ({ bob, organizationId }) => leave(bob, organizationId)),
  atOnce("leave, and be removed", ({ ada, bob, organizationId }) => [
    leave(bob, organizationId),
    remove(ada, organizationId, bob.memberId),
  ]),

  ...["admin", ["member", "admin"]].map((role) =>
    change(`set a role to ${String(role)}`, async ({ ada, bob, organizationId }) =>
      expectOk(await setRole(ada, organizationId, bob, role)),
    ),
  ),
  change("set a role to the role that it is", async ({ ada, carol, organizationId }) =>
    expectOk(await setRole(ada, organizationId, carol, "admin")),
  ),
  change("set a role with a hook that sets another", ({ ada, bob, hooks, organizationId }) => {
    hooks.updateMemberRole = () => ({ data: { role: "owner" } });
    return setRole(ada, organizationId, bob, "admin");
  }),
  twiceAtOnce("set a role", ({ ada, bob, organizationId }) =>
    setRole(ada, organizationId, bob, "admin"),
  ),
  severalTimes(
    atOnce("set a role to two others", ({ ada, bob, organizationId }) =>
      ["admin", "owner"].map((role) => setRole(ada, organizationId, bob, role)),
    ),
  ),

  change("delete an organization", async ({ ada, organizationId }) =>
    expectOk(await deleteOrganization(ada, organizationId)),
  ),
  preparedChange("delete an organization of 120 members", async (scenario) => {
    const { ada, fill, organizationId } = scenario;
    await fill(120, organizationId);
    return async () => expectOk(await deleteOrganization(ada, organizationId));
  }),
  twiceAtOnce("delete an organization", ({ ada, organizationId }) =>
    deleteOrganization(ada, organizationId),
  ),
  atOnce("two leave an organization that is deleted", ({ ada, bob, carol, organizationId }) => [
    leave(bob, organizationId),
    deleteOrganization(ada, organizationId),
    leave(carol, organizationId),
  ]),
  atOnce("two delete their accounts, and the organization is deleted", (scenario) => [
    deleteAccount(scenario.bob),
    deleteOrganization(scenario.ada, scenario.organizationId),
    deleteAccount(scenario.carol),
  ]),

  // Calls on the server that have no route.
  change("auth.api.addMember", ({ auth, organizationId, dave: { userId } }) =>
    auth.api["addMember"]!({ body: { userId, organizationId, role: "admin" } }),
  ),
  severalTimes(
    preparedChange("auth.api.addMember, undone, for the team is full", async (scenario) => {
      const { auth, organizationId, signUp } = scenario;
      const teamId = await createTeam(scenario);
      const add = async () => {
        const { userId } = await signUp("Dave");
        return auth.api["addMember"]!({ body: { userId, organizationId, role: "member", teamId } });
      };
      for (let members = 0; members < 3; members++) await add();
      return add;
    }),
  ),
];

/** Invites Dave, and returns what accepts the invitation. */
async function inviteDave({ ada, dave, organizationId }: Scenario, role: string | string[]) {
  const invitationId = await invite(ada, organizationId, dave.email, role);
  return () => accept(dave, invitationId);
}

/** Returns the team's id. */
async function createTeam({ ada, organizationId }: Scenario): Promise<string> {
  const { body } = expectOk(
    await ada.client.post("/organization/create-team", { name: "team", organizationId }),
  );
  return body.id;
}
