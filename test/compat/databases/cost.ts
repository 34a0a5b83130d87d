import { createScenario, idIs } from "../../membership-changes/membership-change";
import type { Server } from "../../membership-changes/server";

const rounds = 5;
const changesInARound = 60;

/** How many changes a second the adapter makes, in the best of some rounds. */
export interface Rates {
  readonly roles: number;
  readonly removals: number;
}

/** Measures two servers in turn, so that whatever else the machine does slows both. */
export async function measure(servers: readonly [Server, Server]): Promise<[Rates, Rates]> {
  const best: [Rates, Rates] = [
    { roles: 0, removals: 0 },
    { roles: 0, removals: 0 },
  ];
  for (let round = 0; round < rounds; round++) {
    for (const [index, server] of servers.entries()) {
      const { roles, removals } = await measureRound(server);
      best[index] = {
        roles: Math.max(best[index]!.roles, roles),
        removals: Math.max(best[index]!.removals, removals),
      };
    }
  }
  return best;
}

async function measureRound(server: Server): Promise<Rates> {
  const { adapter, fill, organizationId } = await createScenario(server);
  await fill(changesInARound, organizationId);
  const where = [{ field: "organizationId", value: organizationId }];
  const members = await adapter.findMany<{ id: string }>({ model: "member", where });
  const rate = async (change: (id: string) => Promise<unknown>) => {
    const start = performance.now();
    for (const { id } of members) await change(id);
    return (members.length * 1_000) / (performance.now() - start);
  };
  return {
    roles: await rate((id) =>
      adapter.update({ model: "member", where: idIs(id), update: { role: "editor" } }),
    ),
    removals: await rate((id) => adapter.delete({ model: "member", where: idIs(id) })),
  };
}
