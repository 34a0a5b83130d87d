import type { Handler, Payload } from "./contenders";

export const payload: Payload = {
  organizationId: "org_1",
  userId: "user_1",
  role: "member",
  action: "added",
};

/** What the handlers change, so that no compiler leaves them out. */
export let seen = 0;

// Several functions, as several plugins have: one alone would be inlined into whoever calls it.
const makers: Record<"sync" | "async", (() => Handler)[]> = {
  sync: [
    () => (payload) => void (seen += payload.role.length),
    () => (payload) => void (seen += payload.userId.length),
    () => (payload) => void (seen += payload.action.length),
    () => (payload) => void (seen += payload.organizationId.length),
    () => (payload) => void (seen += payload.role.length + 1),
  ],
  async: [
    () => async (payload) => void (seen += payload.role.length),
    () => async (payload) => void (seen += payload.userId.length),
    () => async (payload) => void (seen += payload.action.length),
    () => async (payload) => void (seen += payload.organizationId.length),
    () => async (payload) => void (seen += payload.role.length + 1),
  ],
};

export function makeHandlers(kind: "sync" | "async", count: number): Handler[] {
  return Array.from({ length: count }, (_, index) => {
    const make = makers[kind][index % makers[kind].length]!;
    return make();
  });
}
