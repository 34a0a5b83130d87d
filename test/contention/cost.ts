import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Where } from "better-auth";
import { Actor } from "../fixtures/actor";
import { heading } from "../fixtures/print";
import type { Defer } from "../fixtures/deferred";
import { startHouse, type House } from "./pairs";
import { changes, createScene, type ChangeName, type Scene } from "./scene";
import type { ContendedServer } from "./server";

const rounds = 11;
const changesInARound = 100;
const membersOfTheLargest = 20_000;

/** What is to be reached, of a server without the plugin. */
const targets = { removals: 0.6, roles: 0.5, milliseconds: 500, delay: 50 };

/** Prints what the plugin costs beside a server without it. */
export async function printCost(serverUrl: string, defer: Defer): Promise<void> {
  for (const withoutTransactions of [false, true]) {
    const house = await startHouse(serverUrl, defer, { withoutTransactions });
    heading(`Queries, ${withoutTransactions ? "without transactions" : "with transactions"}`);
    for (const name of Object.keys(changes) as ChangeName[]) {
      const [without, withPlugin] = [
        await countQueries(house, house.silent, name),
        await countQueries(house, house.first, name),
      ];
      const more = withPlugin - without;
      console.log(
        `  ${name.padEnd(44)} ${without} → ${withPlugin} ${more > 0 ? `(+${more})` : ""}`,
      );
    }
  }

  const house = await startHouse(serverUrl, defer, {});
  heading(`A second, the median of ${rounds} rounds of ${changesInARound}, one after another`);
  await printRates(house, "removals by the adapter", targets.removals, ({ adapter }, member) =>
    adapter.delete({ model: "member", where: byId(member.memberId) }),
  );
  await printRates(house, "removals by the route", targets.removals, (server, member) =>
    house.ada.client.at(server.url, server.fetch).post("/organization/remove-member", {
      organizationId: member.organizationId,
      memberIdOrEmail: member.memberId,
    }),
  );
  await printRates(house, "role changes by the adapter", targets.roles, ({ adapter }, member) =>
    adapter.update({
      model: "member",
      where: byId(member.memberId),
      update: { role: "admin" },
    }),
  );
  await printRates(house, "role changes by the route", targets.roles, (server, member) =>
    house.ada.client.at(server.url, server.fetch).post("/organization/update-member-role", {
      organizationId: member.organizationId,
      memberId: member.memberId,
      role: "admin",
    }),
  );

  await printLargest(serverUrl, defer);
}

/** Prints how long the deletion of a large organization takes, and how long the event loop stops for it. */
export async function printLargest(serverUrl: string, defer: Defer): Promise<void> {
  const house = await startHouse(serverUrl, defer, {});
  // As it is where nobody watches: the witness has PostgreSQL log each row as it was.
  for (const table of ["member", '"user"']) {
    await house.database.pool.query(`alter table ${table} replica identity default`);
  }
  heading(`Deleting an organization of ${membersOfTheLargest.toLocaleString("en")}`);
  for (const [title, server] of [
    ["without the plugin", house.silent],
    ["with it", house.first],
  ] as const) {
    for (const [way, remove] of [
      ["by the adapter", changes["deleteMany of two organizations"]],
      ["by the route", changes["the route that deletes an organization"]],
    ] as const) {
      const { milliseconds, delay } = await deleteTheLargest(house, server, remove);
      const reached = milliseconds < targets.milliseconds && delay < targets.delay;
      console.log(
        `  ${way} ${title.padEnd(20)} ${Math.round(milliseconds)} ms, ` +
          `the event loop stopped for ${Math.round(delay)} ms at most` +
          (server === house.first ? verdict(reached) : ""),
      );
    }
  }
  console.log(`  target: ${targets.milliseconds} ms, and ${targets.delay} ms`);
}

const byId = (id: string): Where[] => [{ field: "id", value: id }];
const verdict = (reached: boolean) => (reached ? " ✓" : " ✗");

async function countQueries(
  { database, ada }: House,
  server: ContendedServer,
  name: ChangeName,
): Promise<number> {
  const scene = await createScene(database.pool, ada);
  const actor = new Actor();
  await actor.run(() => changes[name](server, scene)).catch(() => {});
  return actor.statements.length;
}

interface Member {
  readonly organizationId: string;
  readonly memberId: string;
}

async function printRates(
  house: House,
  title: string,
  target: number,
  change: (server: ContendedServer, member: Member) => Promise<unknown>,
): Promise<void> {
  const rates = { without: [] as number[], with: [] as number[] };
  // The first round of each is not counted.
  for (let round = -1; round < rounds; round++) {
    for (const kind of ["without", "with"] as const) {
      const server = kind === "with" ? house.first : house.silent;
      const { organization, memberIds } = await fill(house, changesInARound);
      const start = performance.now();
      for (const memberId of memberIds) {
        await change(server, { organizationId: organization, memberId });
      }
      const seconds = (performance.now() - start) / 1_000;
      if (round >= 0) rates[kind].push(changesInARound / seconds);
    }
  }
  const [without, withPlugin] = [median(rates.without), median(rates.with)];
  const share = withPlugin / without;
  console.log(
    `  ${title.padEnd(28)} ${Math.round(without)} → ${Math.round(withPlugin)}, ` +
      `${share.toFixed(2)} of it, target ${target}${verdict(share >= target)}`,
  );
}

async function deleteTheLargest(
  house: House,
  server: ContendedServer,
  remove: (server: ContendedServer, scene: Scene) => Promise<unknown>,
) {
  const { scene } = await fill(house, membersOfTheLargest);
  await house.database.pool.query("vacuum analyze member");
  const monitor = monitorEventLoopDelay({ resolution: 1 });
  monitor.enable();
  const start = performance.now();
  await remove(server, scene);
  const milliseconds = performance.now() - start;
  // What stops the loop until the very end is seen a turn later.
  await new Promise((resolve) => setTimeout(resolve, 20));
  monitor.disable();
  await house.database.takeTransactions();
  return { milliseconds, delay: monitor.max / 1e6 };
}

/** An organization of Ada's with this many more members. */
async function fill({ database, ada }: House, members: number) {
  const scene = await createScene(database.pool, ada);
  const { organization } = scene;
  const { rows } = await database.pool.query<{ id: string }>(
    `with people as (
       insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
       select gen_random_uuid()::text, 'Guest', gen_random_uuid() || '@example.com', true, now(), now()
       from generate_series(1, $1) returning id)
     insert into member (id, "organizationId", "userId", role, "createdAt")
     select gen_random_uuid()::text, $2, id, 'member', now() from people returning id`,
    [members, organization],
  );
  return { scene, organization, memberIds: rows.map(({ id }) => id) };
}

function median(values: readonly number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)]!;
}
