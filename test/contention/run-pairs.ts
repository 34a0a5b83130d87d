import type { Defer } from "../fixtures/deferred";
import { faultsOf, startHouse, type HouseOptions } from "./pairs";
import { changes, type ChangeName } from "./scene";

export const houses: Record<string, HouseOptions> = {
  "with transactions": {},
  "on two servers": { twoServers: true },
  "under repeatable read": { isolation: "repeatable read" },
  "under serializable": { isolation: "serializable" },
  "without transactions": { withoutTransactions: true },
  "without transactions, on two servers": { withoutTransactions: true, twoServers: true },
};

/** Plays each change against each other one, held before each of its queries; prints the faults. */
export async function runPairs(serverUrl: string, defer: Defer, filter = ""): Promise<number> {
  const names = Object.keys(changes) as ChangeName[];
  let total = 0;
  for (const [title, options] of Object.entries(houses)) {
    const house = await startHouse(serverUrl, defer, options);
    const counts: Record<string, number> = { rounds: 0 };
    for (const first of names) {
      for (const other of names) {
        if (!`${title}: ${first}, ${other}`.includes(filter)) continue;
        const { rounds, faults } = await faultsOf(house, first, other);
        counts["rounds"]! += rounds;
        for (const { fault } of faults) counts[fault] = (counts[fault] ?? 0) + 1;
        if (faults.length > 0) {
          const [{ before, fault, event }] = faults as [(typeof faults)[number]];
          console.log(`${title}: ${first}, held before query ${before}, and ${other}`);
          console.log(`  ${fault}: ${event}${faults.length > 1 ? ` (1 of ${faults.length})` : ""}`);
        }
        total += faults.length;
      }
    }
    console.log(title, counts);
  }
  return total;
}
