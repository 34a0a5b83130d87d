import type { Where } from "better-auth";
import { APIError } from "better-auth/api";
import { password, type TestUser } from "../fixtures/users";
import type { Member, Server } from "./server";

/** One way in which members are added, updated or removed, or users deleted, or in which that fails. */
export interface MembershipChange {
  readonly name: string;
  /** Changes the same membership several times: the tables before and after do not show each of them. */
  readonly severalTimes?: true;
  /** Is made by requests at the same time, between whose events there is no order. */
  readonly concurrent?: true;
  /** Cannot be made where the adapter has no transactions. */
  readonly needsTransactions?: true;
  /** Makes what has to be there before; what it returns makes the change. */
  prepare(scenario: Scenario): Promise<() => Promise<unknown>>;
}

/** An organization of Ada's, in which Bob is a member, Carol an admin, and Dave nothing. */
export interface Scenario extends Server {
  readonly organizationId: string;
  readonly bob: Member;
  readonly carol: Member;
  readonly dave: TestUser;
}

export async function createScenario(server: Server): Promise<Scenario> {
  const organizationId = await server.organization();
  const bob = await server.join(organizationId);
  const carol = await server.join(organizationId, "admin");
  return { ...server, organizationId, bob, carol, dave: await server.signUp("Dave") };
}

type Prepare = MembershipChange["prepare"];
type Make = (scenario: Scenario) => unknown;

/** A change of the scenario as it is. */
export const change = (name: string, make: Make): MembershipChange =>
  preparedChange(name, async (scenario) => async () => make(scenario));
/** A change that needs more than the scenario. */
export const preparedChange = (name: string, prepare: Prepare): MembershipChange => ({
  name,
  prepare,
});
/** Several changes by requests at the same time. */
export const atOnce = (
  name: string,
  make: (scenario: Scenario) => unknown[],
): MembershipChange => ({
  ...change(`${name}, at once`, (scenario) => Promise.all(make(scenario))),
  concurrent: true,
});
/** The same change by two requests at the same time. */
export const twiceAtOnce = (name: string, make: Make): MembershipChange =>
  atOnce(`${name} twice`, (scenario) => [make(scenario), make(scenario)]);
export const severalTimes = (change: MembershipChange): MembershipChange => ({
  ...change,
  severalTimes: true,
});

export const idIs = (id: string): Where[] => [{ field: "id", value: id }];
export const idIn = (...value: string[]): Where[] => [{ field: "id", operator: "in", value }];
export const inOrganization = (value: string): Where[] => [{ field: "organizationId", value }];

/** A hook of the app that refuses. */
export const veto = () => {
  throw new APIError("FORBIDDEN", { message: "vetoed by a hook of the app" });
};

/** Returns what a change returns, or in which way it failed. */
export const failure = (change: Promise<unknown>) =>
  change.catch(({ name, code, cause }) => ({ failedWith: `${name} ${code} ${cause?.code}` }));

export const leave = ({ client }: TestUser, organizationId: string) =>
  client.post("/organization/leave", { organizationId });
export const remove = (by: TestUser, organizationId: string, memberIdOrEmail: string) =>
  by.client.post("/organization/remove-member", { organizationId, memberIdOrEmail });
export const setRole = (
  by: TestUser,
  organizationId: string,
  { memberId }: Member,
  role: string | string[],
) => by.client.post("/organization/update-member-role", { organizationId, memberId, role });
export const deleteOrganization = ({ client }: TestUser, organizationId: string) =>
  client.post("/organization/delete", { organizationId });
export const deleteAccount = ({ client }: TestUser) => client.post("/delete-user", { password });
