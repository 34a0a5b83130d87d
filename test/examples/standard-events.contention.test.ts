import { getBus } from "@kernia/events";
import { betterAuth, type AuthContext, type BetterAuthPlugin, type Where } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { organization } from "better-auth/plugins";
import { beforeAll, describe, expect, test } from "vitest";
import { Actor, Gate } from "../fixtures/actor";
import { deferToEnd } from "../fixtures/defer-to-end";
import { leadsTo, type Tables, type Told } from "../membership-changes/expected";
import { interleave, untilDoneOrWaiting, waitsForLockIn } from "../contention/interleave";
import { judge } from "../contention/judge";
import { runLoad } from "../contention/load";
import { faultsOf, startHouse, type House, type HouseOptions } from "../contention/pairs";
import { changes, createScene, outcomeOf, type ChangeName, type Scene } from "../contention/scene";
import { startContendedPostgres, type ContendedServer } from "../contention/server";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();
let serverUrl: string;
beforeAll(async () => {
  serverUrl = await startContendedPostgres(defer);
});

const byId = (id: string): Where[] => [{ field: "id", value: id }];
const none = { lost: [], doubled: [], false: [], outOfOrder: [] };

const houses = new Map<string, Promise<House>>();

/** A house that is built once, for all who ask for one like it. */
function house(options: HouseOptions = {}): () => House {
  let built: House;
  beforeAll(async () => {
    const key = JSON.stringify(options);
    houses.set(key, houses.get(key) ?? startHouse(serverUrl, defer, options));
    built = await houses.get(key)!;
  });
  return () => built;
}

/** Looks what was committed since, and what was told of it. */
async function begin({ database, first, second }: House) {
  await database.takeTransactions();
  const servers = [...new Set([first, second])];
  for (const { told } of servers) told.length = 0;
  return async () =>
    judge(
      await database.takeTransactions(),
      servers.map(({ told }) => told),
    );
}

describe.each<[string, HouseOptions]>([
  ["with transactions", {}],
  ["on two servers", { twoServers: true }],
  ["under REPEATABLE READ", { isolation: "repeatable read" }],
  ["under SERIALIZABLE", { isolation: "serializable" }],
  ["without transactions", { withoutTransactions: true }],
  ["without transactions, on two servers", { withoutTransactions: true, twoServers: true }],
])("%s, each is told once, and what comes out could without the plugin:", (_, options) => {
  const current = house(options);

  /** The first is held before each of its queries until the second is done, or waits for it. */
  const pairs: [ChangeName, ChangeName][] = [
    ["update of a role", "delete of a member"],
    ["delete of a member", "update of a role"],
    ["the route that removes a member", "the route that changes a role"],
    ["the route that removes a member", "delete of a member"],
    ["update of a role", "incrementOne that sets a role"],
    ["consumeOne of a member", "incrementOne that sets a role"],
    ["move to another organization", "delete of a member"],
    ["delete of a member", "move to another user"],
    ["updateMany of all roles", "the call that adds Dave"],
    ["deleteMany of all members", "the call that adds Dave"],
    ["updateMany of the roles of members", "update of a role"],
    ["deleteMany of all members", "updateMany of all roles"],
    ["deleteMany of the members that are admins", "the route that changes a role"],
    ["the deletion of a user by Better Auth", "the route that deletes an organization"],
    ["the route that deletes an organization", "the deletion of a user by Better Auth"],
    ["the deletion of a user by Better Auth", "move to another user"],
    ["the route that deletes an organization", "move to another organization"],
    ["deleteMany of two users", "deleteMany of two organizations"],
    ["deleteMany of two users", "consumeOne of a user"],
    ["the deletion of a user by Better Auth", "update of a role"],
    ["the route that deletes an organization", "delete of a member"],
    ["a transaction with two changes", "the route that removes a member"],
    ["a transaction that is rolled back", "delete of a member"],
    ["delete of a member", "a transaction that is rolled back"],
  ];
  const takesTransactions = (name: ChangeName) => name.startsWith("a transaction");
  // Nothing says then which of two servers deleted which of several rows, as the example's header has it.
  const takesSeveralRows = (name: ChangeName) =>
    /Many|deletion of|consumeOne of a user|route that deletes|move/.test(name);
  const possible = pairs.filter(
    (pair) =>
      !options.withoutTransactions ||
      !(pair.some(takesTransactions) || (options.twoServers && pair.some(takesSeveralRows))),
  );

  test.each(possible)("%s, held, and %s", async (first, second) => {
    const { faults } = await faultsOf(current(), first, second);
    // SQL itself takes the members of several owners in turn, so these may wait for each other.
    const severalOwners = /two users/.test(first) && /two organizations/.test(second);
    const isLeft = severalOwners ? isMoreThanADeadlock : () => true;
    expect(faults.filter(isFault).filter(isLeft)).toEqual([]);
  });

  const threes: [string, ...ChangeName[]][] = [
    [
      "all removed, one of them promoted in between, and then removed",
      "deleteMany of all members",
      "the route that changes a role",
      "delete of a member",
    ],
    [
      "all removed; before they are locked one has left and another joined, who is then removed",
      "deleteMany of all members",
      "a move of Bob, and the call that adds Dave",
      "delete of the memberships of Dave",
    ],
  ];
  test.skipIf(options.withoutTransactions && options.twoServers).each(threes)(
    "%s",
    async (_, first, ...others) => {
      const { faults } = await faultsOf(current(), first!, ...others);
      expect(faults.filter(isFault)).toEqual([]);
    },
  );

  /** A deadlock that is overcome leaves what could be without one. */
  const isMoreThanADeadlock = ({ event, possible }: { event: string; possible?: string[] }) =>
    !possible?.some((outcome) => withoutDeadlocks(outcome) === withoutDeadlocks(event));
  const withoutDeadlocks = (outcome: string) => outcome.replace(/"deadlocks":\d+/, "");

  /** At these levels PostgreSQL may refuse whichever of two writes to a row comes second. */
  const isFault = ({ fault, event }: { fault: string; event: string }) =>
    !(options.isolation && fault === "outcome" && /: (error|500)"/.test(event));
});

describe.each<[string, HouseOptions]>([
  ["with transactions", {}],
  ["without transactions", { withoutTransactions: true }],
])("%s, when a query fails", (_, options) => {
  const current = house(options);

  test.each<ChangeName>([
    "update of a role",
    "updateMany of all roles",
    "the route that removes a member",
    "deleteMany of all members",
    "the deletion of a user by Better Auth",
    "deleteMany of two users",
    "the route that deletes an organization",
  ])("what is committed of it is told all the same: %s", async (change) => {
    const { first, database, ada } = current();
    for (let failing = 1, failed = true; failed; failing++) {
      failed = false;
      const scene = await createScene(database.pool, ada);
      const end = await begin(current());
      const actor = new Actor();
      actor.beforeQuery = (number) => {
        if (number !== failing) return;
        failed = true;
        throw new Error("the connection is lost");
      };
      await actor.run(() => changes[change](first, scene)).catch(() => {});
      expect([failing, await end()]).toEqual([failing, none]);
    }
  });

  const held: [string, (scene: Scene) => string, (scene: Scene) => string, typeof deleteUsers][] = [
    ["the first of two users", ({ bob }) => bob, ({ bob }) => bob, deleteUsers],
    ["the second of two users", ({ carol }) => carol, ({ carol }) => carol, deleteUsers],
    ["an organization", ({ organization }) => organization, () => "", deleteOrganizations],
    ["a member", ({ carols }) => carols, () => "", deleteMembers],
  ];
  test.each(held)(
    "for a foreign key holds %s, it fails, and leaves what it leaves without the plugin",
    async (name, heldRow) => {
      const { first, silent, database, ada } = current();
      const table = name.includes("user")
        ? "user"
        : name.includes("member")
          ? "member"
          : "organization";
      await database.pool.query(`drop table if exists invoice`);
      await database.pool.query(`create table invoice (row text references "${table}")`);
      const outcomes = [];
      for (const server of [silent, first]) {
        const scene = await createScene(database.pool, ada);
        await database.pool.query("insert into invoice values ($1)", [heldRow(scene)]);
        const end = await begin(current());
        const change = held.find(([title]) => title === name)![3];
        const answer = await change(server, scene).then(
          (result) => `${result}`,
          (error: { code?: string }) => `error ${error.code}`,
        );
        const verdict = server === silent ? none : await end();
        outcomes.push({ answer, verdict, tables: await outcomeOf(database.pool, scene) });
      }
      await database.pool.query("drop table invoice");
      expect(outcomes[1]).toEqual(outcomes[0]);
    },
  );
});

function deleteUsers({ adapter }: ContendedServer, { bob, carol }: Scene) {
  return adapter.deleteMany({ model: "user", where: idIn(bob, carol) });
}
function deleteOrganizations({ adapter }: ContendedServer, { organization, second }: Scene) {
  return adapter.deleteMany({ model: "organization", where: idIn(second, organization) });
}
function deleteMembers({ adapter }: ContendedServer, { bobs, carols }: Scene) {
  return adapter.deleteMany({ model: "member", where: idIn(bobs, carols) });
}
function idIn(...value: string[]): Where[] {
  return [{ field: "id", operator: "in", value }];
}

describe("without transactions", () => {
  const current = house({ withoutTransactions: true });

  test.each<ChangeName>([
    "update of a role",
    "delete of a member",
    "deleteMany of all members",
    "the deletion of a user by Better Auth",
  ])("while it waits for a lock, changes elsewhere go on: %s", async (change) => {
    const { first, database, ada } = current();
    const [scene, elsewhere] = [
      await createScene(database.pool, ada),
      await createScene(database.pool, ada),
    ];
    const end = await begin(current());
    const locker = await database.pool.connect();
    await locker.query("begin");
    await locker.query("select from member where id = $1 for update", [scene.bobs]);
    const actor = new Actor();
    const waiting = actor.run(() => changes[change](first, scene));
    await untilDoneOrWaiting(waitsForLockIn(database.pool), actor, waiting);

    let done = 0;
    const others: ChangeName[] = [
      "update of a role",
      "delete of a member",
      "the route that deletes an organization",
    ];
    const other = new Actor();
    const going = other.run(async () => {
      for (const name of others) {
        await changes[name](first, elsewhere);
        done++;
      }
    });
    await untilDoneOrWaiting(waitsForLockIn(database.pool), other, going);
    const doneMeanwhile = done;
    await locker.query("rollback");
    locker.release();
    await Promise.all([waiting, going]);

    expect(doneMeanwhile).toBe(3);
    expect(await end()).toEqual(none);
  });
});

describe.each<[string, HouseOptions]>([
  ["with transactions", {}],
  ["without transactions", { withoutTransactions: true }],
])("%s, while handlers are slow", (_, options) => {
  const current = house(options);

  test("who joins again while the removal is told is told after it", async () => {
    const { first, database, ada } = current();
    const scene = await createScene(database.pool, ada);
    const end = await begin(current());
    const [told, gate] = [new Gate(), new Gate()];
    const stop = whenTold(first, "organization.member.removed", async () => {
      told.open();
      await gate.opened;
    });

    const removal = first.adapter.delete({ model: "member", where: byId(scene.bobs) });
    await told.opened;
    await changes["create of a membership of Bob's"](first, scene);
    gate.open();
    await removal;
    stop();

    expect(first.told.map(([event]) => event)).toEqual([
      "organization.member.removed",
      "organization.member.added",
    ]);
    expect(await end()).toEqual(none);
  });

  test("who joins again between the queries of the removal is told after it", async () => {
    const { first, database, ada } = current();
    for (let before = 1, last = 1; before <= last + 1; before++) {
      const scene = await createScene(database.pool, ada);
      const end = await begin(current());
      const { queries } = await interleave(
        waitsForLockIn(database.pool),
        () => first.adapter.delete({ model: "member", where: byId(scene.bobs) }),
        [
          {
            before,
            async work() {
              const { rowCount } = await database.pool.query("select from member where id = $1", [
                scene.bobs,
              ]);
              if (rowCount === 0) await changes["create of a membership of Bob's"](first, scene);
            },
          },
        ],
      );
      last = queries;
      expect([before, await end()]).toEqual([before, none]);
    }
  });

  test("what one commit brings is told at once, in order, and waited for together", async () => {
    const { first, database, ada } = current();
    const scene = await createScene(database.pool, ada);
    const end = await begin(current());
    const [told, gate] = [new Gate(), new Gate()];
    const stop = whenTold(first, "organization.member.updated", async ({ userId }) => {
      if (userId !== scene.bob) return;
      told.open();
      await gate.opened;
    });

    let done = false;
    const change = first.adapter
      .updateMany({
        model: "member",
        where: [{ field: "organizationId", value: scene.organization }],
        update: { role: "reader" },
      })
      .then(() => (done = true));
    await told.opened;
    await first.adapter.delete({ model: "member", where: byId(scene.carols) });

    expect(done).toBe(false);
    gate.open();
    await change;
    stop();
    expect(await end()).toEqual(none);
  });
});

describe("with transactions", () => {
  const current = house();

  test("the events of a transaction come before those of what follows its commit", async () => {
    const { first, database, ada } = current();
    const scene = await createScene(database.pool, ada);
    const end = await begin(current());
    const [told, gate] = [new Gate(), new Gate()];
    const stop = whenTold(first, "organization.member.updated", async ({ userId }) => {
      if (userId !== scene.bob) return;
      told.open();
      await gate.opened;
    });

    let done = false;
    const update = { role: "reader" };
    const change = first.adapter
      .transaction(async (transaction) => {
        await transaction.update({ model: "member", where: byId(scene.bobs), update });
        await transaction.update({ model: "member", where: byId(scene.carols), update });
      })
      .then(() => (done = true));
    await told.opened;
    await changes["the route that removes a member"](first, { ...scene, bobs: scene.carols });

    expect(done).toBe(false);
    gate.open();
    await change;
    stop();
    expect(first.told.map(([event, { userId }]) => [event, userId])).toEqual([
      ["organization.member.updated", scene.bob],
      ["organization.member.updated", scene.carol],
      ["organization.member.removed", scene.carol],
    ]);
    expect(await end()).toEqual(none);
  });

  test("who waits for somebody else's transaction tells the role that it left", async () => {
    const { first, database, ada } = current();
    for (const outcome of ["commit", "rollback"]) {
      const scene = await createScene(database.pool, ada);
      const end = await begin(current());
      const [written, gate] = [new Gate(), new Gate()];
      const transaction = first.adapter
        .transaction(async (inner) => {
          const update = { role: "admin" };
          await inner.update({ model: "member", where: byId(scene.bobs), update });
          written.open();
          await gate.opened;
          if (outcome === "rollback") throw new Error("rolled back");
        })
        .catch(() => {});
      await written.opened;
      const actor = new Actor();
      const removal = actor.run(() => changes["delete of a member"](first, scene));
      await untilDoneOrWaiting(waitsForLockIn(database.pool), actor, removal);
      expect(first.told).toEqual([]);
      gate.open();
      await Promise.all([transaction, removal]);

      const role = outcome === "commit" ? "admin" : "member";
      expect(first.told.at(-1)).toMatchObject(["organization.member.removed", { role }]);
      expect(await end()).toEqual(none);
    }
  });

  /** Somebody who holds a row, and goes on to another that whoever waits for the first one holds. */
  async function startRival(lock: string, id: string) {
    const { pool } = current().database;
    const connection = await pool.connect();
    // Whoever has waited for as long as this looks for a deadlock, and becomes its victim.
    await connection.query("set deadlock_timeout = '60s'");
    await connection.query("begin");
    await connection.query(lock, [id]);
    const { pid } = (await connection.query("select pg_backend_pid() as pid")).rows[0];
    const waits = waitsForLockIn(pool);
    const waiting = new Gate();
    let second: Promise<unknown> | undefined;
    return {
      /** Returns once it waits; there is nothing to be done the second time. */
      async goOnTo(lock: string, id: string) {
        if (second) return;
        second = connection.query(lock, [id]);
        while (!(await waits([pid])));
        waiting.open();
      },
      async end() {
        await waiting.opened;
        await second;
        await connection.query("commit");
        connection.release(true);
      },
    };
  }

  test("the deletion of a user that is a deadlock's victim is done again, and told once", async () => {
    const { first, database, ada } = current();
    const scene = await createScene(database.pool, ada);
    await database.pool.query(
      `update member set "organizationId" = "organizationId" where "userId" = $1`,
      [scene.bob],
    );
    const end = await begin(current());
    first.errors.length = 0;
    const rival = await startRival(`select from "user" where id = $1 for key share`, scene.bob);
    const actor = new Actor();
    // The deletion holds the memberships: the other waits for them before it waits for the user.
    actor.beforeQuery = async (_, statement) => {
      if (!statement.startsWith('delete from "user"')) return;
      await rival.goOnTo(`select from member where "userId" = $1 for update`, scene.bob);
    };
    const deletion = actor.run(() =>
      first.adapter.delete({ model: "user", where: byId(scene.bob) }),
    );
    await rival.end();
    await deletion;

    expect(first.errors).toEqual(["40P01"]);
    expect(await end()).toEqual(none);
    expect((await outcomeOf(database.pool, scene)).join()).not.toContain("bob");
  });

  test.each([
    ["nothing", "is done again"],
    ["something", "fails"],
  ])("a transaction that is a deadlock's victim when %s was written in it %s", async (what) => {
    const { first, database, ada } = current();
    // Members are locked in the order of their ids.
    let scene = await createScene(database.pool, ada);
    while (scene.bobs > scene.carols) scene = await createScene(database.pool, ada);
    const end = await begin(current());
    first.errors.length = 0;
    const memberById = "select from member where id = $1 for update";
    const rival = await startRival(memberById, scene.carols);
    const isBobLocked = async () =>
      (await database.pool.query(`${memberById} skip locked`, [scene.bobs])).rowCount === 0;
    const actor = new Actor();
    actor.beforeQuery = async (_, statement) => {
      if (!statement.startsWith('update "member"') || !(await isBobLocked())) return;
      await rival.goOnTo(memberById, scene.bobs);
    };
    const where = [{ field: "organizationId", value: scene.organization }];
    let runs = 0;
    const deletion = actor.run(() =>
      first.adapter
        .transaction(async (transaction) => {
          runs++;
          if (what === "something") {
            const update = { name: "Other Guild" };
            await transaction.update({ model: "organization", where: byId(scene.third), update });
          }
          return transaction.deleteMany({ model: "member", where });
        })
        .catch((error: { code?: string }) => error.code),
    );
    await rival.end();

    expect(await deletion).toBe(what === "nothing" ? 3 : "40P01");
    expect(runs).toBe(what === "nothing" ? 2 : 1);
    expect(first.errors).toEqual(["40P01"]);
    expect(await end()).toEqual(none);
  });
});

describe("under a random load of 20 clients, for a few seconds", () => {
  test.each<[string, HouseOptions]>([
    ["with transactions", {}],
    ["with transactions, on two servers", { twoServers: true }],
    ["without transactions", { withoutTransactions: true }],
  ])("nothing is lost, doubled or false: %s", async (_, options) => {
    const { owed, verdict } = await runLoad(serverUrl, { ...options, seconds: 3, seed: 1 });
    expect(owed).toBeGreaterThan(20);
    expect({ ...verdict, outOfOrder: [] }).toEqual(none);
  });
});

describe("with the memory adapter", () => {
  const members = (organizationId: string) => [
    { id: "m_1", organizationId, userId: "u_1", role: "member" },
    { id: "m_2", organizationId, userId: "u_2", role: "member" },
    { id: "m_3", organizationId, userId: "u_3", role: "admin" },
  ];

  /** Better Auth on three members; whoever calls the adapter can be held before each call. */
  async function createMemory() {
    const database: Record<string, Record<string, unknown>[]> = {
      user: ["u_1", "u_2", "u_3"].map((id) => ({ id })),
      session: [],
      account: [],
      organization: [{ id: "o_1" }],
      member: members("o_1"),
    };
    const auth = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: memoryAdapter(database as never),
      telemetry: { enabled: false },
      plugins: [organization() as unknown as BetterAuthPlugin, standardEvents()],
    });
    const context = (await auth.$context) as unknown as AuthContext;
    const told: Told[] = [];
    const bus = getBus(context);
    bus.on("organization.member.added", (event) => told.push(["organization.member.added", event]));
    bus.on("organization.member.removed", (event) =>
      told.push(["organization.member.removed", event]),
    );
    bus.on("organization.member.updated", (event) =>
      told.push(["organization.member.updated", event]),
    );
    bus.on("user.deleted", (event) => told.push(["user.deleted", event]));
    const tables = (): Tables => ({
      members: new Map(
        database["member"]!.map(({ id, organizationId, userId, role }) => [
          id as string,
          { organizationId, userId, role } as never,
        ]),
      ),
      users: new Set(database["user"]!.map(({ id }) => id as string)),
    });
    return { context, adapter: context.adapter, told, tables };
  }

  type Memory = Awaited<ReturnType<typeof createMemory>>;
  const ofOrganization = [{ field: "organizationId", value: "o_1" }];
  const update = (role: string) => (memory: Memory) =>
    memory.adapter.update({ model: "member", where: byId("m_1"), update: { role } });
  const remove = ({ adapter }: Memory) => adapter.delete({ model: "member", where: byId("m_1") });
  const removeAll = ({ adapter }: Memory) =>
    adapter.deleteMany({ model: "member", where: ofOrganization });
  const consume = ({ adapter }: Memory) =>
    adapter.consumeOne({ model: "member", where: byId("m_1") });
  const updateAll = ({ adapter }: Memory) =>
    adapter.updateMany({ model: "member", where: ofOrganization, update: { role: "reader" } });
  const deleteUser = ({ adapter }: Memory) => adapter.delete({ model: "user", where: byId("u_1") });

  test.each<[string, ((memory: Memory) => Promise<unknown>)[]]>([
    ["removed twice", [remove, remove]],
    ["consumed twice", [consume, consume]],
    ["removed, and all removed", [remove, removeAll]],
    ["all removed twice", [removeAll, removeAll]],
    ["promoted, and removed", [update("admin"), remove]],
    ["removed, and promoted", [remove, update("admin")]],
    ["promoted, and all changed", [update("admin"), updateAll]],
    ["promoted, removed and all removed", [update("admin"), remove, removeAll]],
    ["promoted twice", [update("admin"), update("owner")]],
    ["promoted twice, to the same", [update("admin"), update("admin")]],
    ["a user deleted twice", [deleteUser, deleteUser]],
    ["a user deleted, and the membership removed", [deleteUser, remove]],
  ])("of two at once, one tells of each change: %s", async (_, works) => {
    const memory = await createMemory();
    const before = memory.tables();
    await Promise.all(works.map((work) => work(memory)));
    const right = leadsTo(before, memory.told, memory.tables());
    expect(right ? [] : memory.told).toEqual([]);
  });
});

/** Returns what unsubscribes. */
function whenTold(
  { bus }: ContendedServer,
  event: "organization.member.removed" | "organization.member.updated",
  handler: (payload: { userId: string }) => Promise<void>,
): () => void {
  bus.on(event, handler);
  return () => bus.off(event, handler);
}
