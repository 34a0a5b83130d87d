import { createScenario, idIs, inOrganization } from "../../membership-changes/membership-change";
import type { Server } from "../../membership-changes/server";

const rounds = 5;
const changesInARound = 60;

/** How many roles are changed, and members removed, a second. */
export type Rates = readonly [roles: number, removals: number];

/** Measures the adapters of two servers in turn, and returns the best round of each. */
export async function measure(servers: readonly [Server, Server]): Promise<[Rates, Rates]> {
  const best: [Rates, Rates] = [
    [0, 0],
    [0, 0],
  ];
  for (let round = 0; round < rounds; round++) {
    for (const [index, server] of servers.entries()) {
      const [roles, removals] = await measureRound(server);
      const [mostRoles, mostRemovals] = best[index]!;
      best[index] = [Math.max(roles, mostRoles), Math.max(removals, mostRemovals)];
    }
  }
  return best;
}

async function measureRound({ adapter, ...server }: Server): Promise<Rates> {
  const { fill, organizationId } = await createScenario({ adapter, ...server });
  await fill(changesInARound, organizationId);
  const where = inOrganization(organizationId);
  const members = await adapter.findMany<{ id: string }>({ model: "member", where });
  const rate = async (change: (id: string) => Promise<unknown>) => {
    const start = performance.now();
    for (const { id } of members) await change(id);
    return (members.length * 1_000) / (performance.now() - start);
  };
  const update = { role: "editor" };
  return [
    await rate((id) => adapter.update({ model: "member", where: idIs(id), update })),
    await rate((id) => adapter.delete({ model: "member", where: idIs(id) })),
  ];
}
