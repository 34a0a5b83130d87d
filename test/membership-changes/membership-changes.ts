import { byAccountRoutes } from "./by-account-routes";
import { byAdapter } from "./by-adapter";
import { byOrganizationRoutes } from "./by-organization-routes";
import { byProvisioning } from "./by-provisioning";
import type { MembershipChange } from "./membership-change";

export const membershipChanges: readonly MembershipChange[] = [
  ...byOrganizationRoutes,
  ...byAccountRoutes,
  ...byProvisioning,
  ...byAdapter,
];
