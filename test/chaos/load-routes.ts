import { setTimeout as sleep } from "node:timers/promises";
import { createOrganization, join, password, signUp } from "../fixtures/users";
import type { Random } from "./random";
import type { Service } from "./service";

/** Has people come and go through the routes of the auth servers until the signal. */
export async function loadByRoutes(
  servers: readonly Service[],
  random: Random,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    // It fails if a server, a connection or PostgreSQL is killed, wherever it is by then.
    await comeAndGo(random.pick(servers).url, random).catch(() => {});
    await sleep(random.between(50, 250));
  }
}

async function comeAndGo(url: string, random: Random): Promise<void> {
  const owner = await signUp(url, "Ada");
  const organizationId = await createOrganization(owner, "lovelace");
  for (let guests = random.between(1, 3); guests > 0; guests--) {
    const guest = await join(owner, organizationId, "Bob");
    const { memberId, client } = guest;
    const ways = [
      () => client.post("/organization/leave", { organizationId }),
      () => client.post("/delete-user", { password }),
      () =>
        owner.client.post("/organization/update-member-role", {
          organizationId,
          memberId,
          role: random.pick(["admin", "owner"]),
        }),
      () =>
        owner.client.post("/organization/remove-member", {
          organizationId,
          memberIdOrEmail: memberId,
        }),
    ];
    await random.pick(ways)();
  }
  if (random.oneIn(3)) await owner.client.post("/organization/delete", { organizationId });
}
