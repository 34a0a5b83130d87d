import { randomUUID } from "node:crypto";
import { password } from "../fixtures/users";
import { createTeam } from "./by-organization-routes";
import {
  change,
  failure,
  preparedChange,
  severalTimes,
  type MembershipChange,
  type Scenario,
} from "./membership-change";

/** A call with the session of one of the users in the scenario. */
const call = (
  name: string,
  by: "ada" | "bob" | "root",
  body: (scenario: Scenario) => object,
): MembershipChange =>
  change(`auth.api.${name}`, (scenario) =>
    scenario.auth.api[name]!({ body: body(scenario), headers: scenario[by].client.headers }),
  );

export const byServerSideCalls: MembershipChange[] = [
  preparedChange("auth.api.addMember", async ({ auth, organizationId, signUp }) => {
    const { userId } = await signUp("Dave");
    return () => auth.api["addMember"]!({ body: { userId, organizationId, role: "admin" } });
  }),
  change("auth.api.addMember, of a member", ({ auth, bob: { userId }, organizationId }) =>
    failure(auth.api["addMember"]!({ body: { userId, organizationId, role: "admin" } })),
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
      return () => failure(add());
    }),
  ),
  change("auth.api.createOrganization", ({ auth, ada: { userId } }) =>
    auth.api["createOrganization"]!({ body: { name: "new", slug: randomUUID(), userId } }),
  ),
  call("removeMember", "ada", ({ bob, organizationId }) => ({
    organizationId,
    memberIdOrEmail: bob.email,
  })),
  call("updateMemberRole", "ada", ({ bob: { memberId }, organizationId }) => ({
    organizationId,
    memberId,
    role: "admin",
  })),
  call("leaveOrganization", "bob", ({ organizationId }) => ({ organizationId })),
  call("deleteOrganization", "ada", ({ organizationId }) => ({ organizationId })),
  call("deleteUser", "bob", () => ({ password })),
  call("removeUser", "root", ({ bob: { userId } }) => ({ userId })),
];
