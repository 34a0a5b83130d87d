import type { Events } from "@kernia/events";

type Team = Readonly<Record<string, readonly (keyof Events)[]>>;

/** Each team runs workers of its own, which know nothing of the queues of the other. */
export const teams = {
  billing: {
    seats: ["organization.member.added", "organization.member.removed"],
    roles: ["organization.member.updated"],
  },
  security: {
    audit: [
      "organization.member.added",
      "organization.member.updated",
      "organization.member.removed",
      "user.deleted",
    ],
    offboarding: ["user.deleted"],
  },
} satisfies Record<string, Team>;

export type TeamName = keyof typeof teams;

/** All queues, and the events that each is for. */
export const subscriptions: Team = { ...teams.billing, ...teams.security };
