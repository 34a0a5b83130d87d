import { randomUUID } from "node:crypto";
import { must, type TestUser } from "../fixtures/users";
import { preparedChange, veto, type MembershipChange, type Scenario } from "./membership-change";
import { scimToken } from "./server";

const byIdentityProvider: MembershipChange[] = [
  ...["bob", "admin"].map((name) =>
    preparedChange(`sign in by SSO for the first time, as ${name}`, async (scenario) => {
      const { providerId, domain } = await scenario.ssoProvider(scenario.organizationId);
      return signInBySso(scenario, providerId, `${name}@${domain}`);
    }),
  ),
  preparedChange("sign in by GitLab, in a verified domain of an organization", async (scenario) => {
    const { domain } = await scenario.ssoProvider(scenario.organizationId);
    return signInByGitlab(scenario, `bob@${domain}`);
  }),
];

const byScim: MembershipChange[] = [
  preparedChange("SCIM creates a user", async (scenario) => {
    return () => scim(scenario, "POST", "/Users", scimUser(), 201);
  }),
  preparedChange("SCIM deactivates a user", async (scenario) => {
    const { id } = await scim(scenario, "POST", "/Users", scimUser(), 201);
    return () => scim(scenario, "PATCH", `/Users/${id}`, replace("active", false));
  }),
  preparedChange("SCIM deactivates a user, and the app refuses", async (scenario) => {
    const { id } = await scim(scenario, "POST", "/Users", scimUser(), 201);
    scenario.hooks.provision = veto;
    return () => scim(scenario, "PATCH", `/Users/${id}`, replace("active", false));
  }),
  preparedChange("SCIM deletes a user", async (scenario) => {
    const { id } = await scim(scenario, "POST", "/Users", scimUser(), 201);
    return () => scim(scenario, "DELETE", `/Users/${id}`);
  }),
  preparedChange("SCIM puts a user into a group that is a role", async (scenario) => {
    const { id: value } = await scim(scenario, "POST", "/Users", scimUser(), 201);
    const schemas = ["urn:ietf:params:scim:schemas:core:2.0:Group"];
    const group = { schemas, displayName: "admin", members: [{ value }] };
    return () => scim(scenario, "POST", "/Groups", group, 201);
  }),
];

export const byProvisioning = [
  ...byIdentityProvider,
  ...byScim.map((change) => ({ ...change, needsTransactions: true as const })),
];

function signInBySso(scenario: Scenario, providerId: string, email: string) {
  const route = ["/sign-in/sso", `/sso/callback/${providerId}`] as const;
  return signInByProvider(scenario, route, { providerId }, email);
}

function signInByGitlab(scenario: Scenario, email: string) {
  const route = ["/sign-in/social", "/callback/gitlab"] as const;
  return signInByProvider(scenario, route, { provider: "gitlab" }, email);
}

/** Begins to sign in; what it returns is done once the provider has sent the browser back. */
async function signInByProvider(
  { client, url }: Scenario,
  [begin, end]: readonly [string, string],
  provider: object,
  email: string,
) {
  const browser: TestUser["client"] = client();
  const callbackURL = `${url}/welcome`;
  const { body } = must(await browser.post(begin, { ...provider, callbackURL }));
  const state = new URL(body.url).searchParams.get("state")!;
  return async () => {
    const query = new URLSearchParams({ code: email, state });
    const { location } = await browser.get(`${url}/api/auth${end}?${query}`);
    if (location !== callbackURL) throw new Error(`signing in led to ${location}`);
  };
}

async function scim(
  { client }: Scenario,
  method: string,
  route: string,
  body: object = {},
  expectedStatus?: number,
) {
  const answer = await client().send(method, `/scim/v2${route}`, body, {
    authorization: `Bearer ${scimToken}`,
    "content-type": "application/scim+json",
  });
  if (expectedStatus !== undefined && answer.status !== expectedStatus) {
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
