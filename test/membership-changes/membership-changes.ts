import { byAccountRoutes } from "./by-account-routes";
import { byAdapter } from "./by-adapter";
import { byOrganizationRoutes } from "./by-organization-routes";
import { byProvisioning } from "./by-provisioning";
import type { MembershipChange } from "./membership-change";

/** By what makes the change. */
export const changesBy = {
  routes: [...byOrganizationRoutes, ...byAccountRoutes],
  "SSO and SCIM": byProvisioning,
  adapter: byAdapter,
};

export const membershipChanges: readonly MembershipChange[] = Object.values(changesBy).flat();
