import { randomUUID } from "node:crypto";
import { expectOk } from "../fixtures/users";
import {
  change,
  preparedChange,
  veto,
  type MembershipChange,
  type Scenario,
} from "./membership-change";
import { scimToken } from "./server";

const byIdentityProvider: MembershipChange[] = [
  ...["bob", "admin"].map((name) =>
    preparedChange(`sign in by SSO for the first time, as ${name}`, async (scenario) => {
      const { providerId, domain } = await scenario.ssoProvider(scenario.organizationId);
      const route = ["/sign-in/sso", `/sso/callback/${providerId}`] as const;
      return signInBy({ providerId }, route, scenario, `${name}@${domain}`);
    }),
  ),
  preparedChange("sign in by GitLab, in a verified domain of an organization", async (scenario) => {
    const { domain } = await scenario.ssoProvider(scenario.organizationId);
    const route = ["/sign-in/social", "/callback/gitlab"] as const;
    return signInBy({ provider: "gitlab" }, route, scenario, `bob@${domain}`);
  }),
];

const byScim: MembershipChange[] = [
  change("SCIM creates a user", createScimUser),
  preparedChange("SCIM deactivates a user", async (scenario) => {
    const { id } = await createScimUser(scenario);
    return () => scim(scenario, "PATCH", `/Users/${id}`, deactivation);
  }),
  preparedChange("SCIM deactivates a user, and the app refuses", async (scenario) => {
    const { id } = await createScimUser(scenario);
    scenario.hooks.provision = veto;
    return () => scim(scenario, "PATCH", `/Users/${id}`, deactivation);
  }),
  preparedChange("SCIM deletes a user", async (scenario) => {
    const { id } = await createScimUser(scenario);
    return () => scim(scenario, "DELETE", `/Users/${id}`);
  }),
  preparedChange("SCIM puts a user into a group that is a role", async (scenario) => {
    const { id: value } = await createScimUser(scenario);
    const schemas = ["urn:ietf:params:scim:schemas:core:2.0:Group"];
    const group = { schemas, displayName: "admin", members: [{ value }] };
    return () => scim(scenario, "POST", "/Groups", group);
  }),
];

export const byProvisioning = [
  ...byIdentityProvider,
  ...byScim.map((change) => ({ ...change, needsTransactions: true as const })),
];

/** Begins to sign in; what it returns is done once the provider has sent the browser back. */
async function signInBy(
  provider: object,
  [begin, end]: readonly [string, string],
  { client, url }: Scenario,
  email: string,
) {
  const browser = client();
  const callbackURL = `${url}/welcome`;
  const { body } = expectOk(await browser.post(begin, { ...provider, callbackURL }));
  const state = new URL(body.url).searchParams.get("state")!;
  return async () => {
    const query = new URLSearchParams({ code: email, state });
    const { location } = await browser.get(`${url}/api/auth${end}?${query}`);
    if (location !== callbackURL) throw new Error(`signing in led to ${location}`);
  };
}

async function scim({ client, url }: Scenario, method: string, route: string, body: object = {}) {
  const answer = await client().send(`${url}/api/auth/scim/v2${route}`, {
    method,
    headers: { authorization: `Bearer ${scimToken}`, "content-type": "application/scim+json" },
    body: JSON.stringify(body),
  });
  if (answer.status >= 400) {
    throw new Error(`SCIM answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  }
  return answer.body;
}

function createScimUser(scenario: Scenario): Promise<{ id: string }> {
  const userName = `bob-${randomUUID()}@example.com`;
  return scim(scenario, "POST", "/Users", {
    schemas: ["urn:ietf:params:scim:schemas:core:2.0:User"],
    userName,
    emails: [{ value: userName, primary: true }],
    active: true,
  });
}

const deactivation = {
  schemas: ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
  Operations: [{ op: "replace", path: "active", value: false }],
};
