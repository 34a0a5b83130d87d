import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { getBus } from "@kernia/events";
import type { BetterAuthOptions, BetterAuthPlugin } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { prismaAdapter } from "better-auth/adapters/prisma";
import { organization } from "better-auth/plugins";
import { PostgresDialect } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import { startUp } from "../fixtures/auth-server";
import { deferToEnd } from "../fixtures/defer-to-end";
import { idIs } from "../membership-changes/membership-change";
import { membershipChanges } from "../membership-changes/membership-changes";
import { observe, Recorder } from "../membership-changes/observe";
import { startPostgresServer } from "../membership-changes/server";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();

describe("each committed change is emitted once, after the commit, in order:", () => {
  const recorder = new Recorder();

  beforeAll(async () => {
    const plugins = [standardEvents(), recorder.plugin()];
    recorder.server = await startPostgresServer(defer, { plugins });
  });

  test.each(membershipChanges)("$name", async (change) => {
    const { faults } = await observe(change, recorder.server!, recorder);

    expect(faults).toEqual([]);
  });
});

/** Better Auth on three members and their users, in memory. */
function contextOf(...plugins: BetterAuthPlugin[]) {
  const ids = ["1", "2", "3"];
  const member = { organizationId: "o_1", role: null };
  const rows = {
    user: ids.map((id) => ({ id: `u_${id}` })),
    organization: [{ id: "o_1" }],
    member: ids.map((id) => ({ id: `m_${id}`, userId: `u_${id}`, ...member })),
  };
  return startUp({ database: memoryAdapter(rows), plugins: [organization(), ...plugins] });
}

test("the adapter returns what it returns without the plugin", async () => {
  const update = { role: "admin" };
  const call = async (...plugins: BetterAuthPlugin[]) => {
    const { adapter } = await contextOf(...plugins);
    return [
      await adapter.update({ model: "member", where: idIs("m_1"), update }),
      await adapter.update({ model: "member", where: idIs("none"), update }),
      await adapter.updateMany({ model: "member", where: idIs("m_1"), update }),
      await adapter.delete({ model: "member", where: idIs("m_1") }),
      await adapter.deleteMany({ model: "member", where: idIs("m_2") }),
      await adapter.deleteMany({ model: "user", where: idIs("u_1") }),
      await adapter.consumeOne({ model: "member", where: idIs("m_3") }),
      await adapter.consumeOne({ model: "member", where: idIs("none") }),
      await adapter.consumeOne({ model: "user", where: idIs("u_3") }),
      await adapter.transaction(async () => "answer"),
    ];
  };

  expect(await call(standardEvents())).toEqual(await call());
});

test("a handler may change members itself", async () => {
  const auth = await contextOf(standardEvents());
  const removed: string[] = [];
  getBus(auth).on("organization.member.removed", async ({ userId }) => {
    removed.push(userId);
    if (userId === "u_1") await auth.adapter.delete({ model: "member", where: idIs("m_2") });
  });

  await auth.adapter.delete({ model: "member", where: idIs("m_1") });

  expect(removed).toEqual(["u_1", "u_2"]);
});

test("a transaction that the adapter rolls back and runs again is emitted once", async () => {
  const runsAgain: BetterAuthPlugin = {
    id: "runs-again",
    init({ adapter }) {
      const { transaction } = adapter;
      adapter.transaction = (run) =>
        transaction((inner) => run(inner).then(() => Promise.reject())).catch(() =>
          transaction(run),
        );
    },
  };
  const auth = await contextOf(runsAgain, standardEvents());
  const added: string[] = [];
  getBus(auth).on("organization.member.added", ({ role }) => added.push(role));
  const data = { organizationId: "o_1", userId: "u_4", role: "editor", createdAt: new Date() };
  await auth.adapter.transaction(({ create }) => create({ model: "member", data }));

  expect(added).toEqual(["editor"]);
});

test("what was emitted is not kept, even while a handler of another event hangs", async () => {
  setFlagsFromString("--expose-gc");
  const auth = await contextOf(standardEvents());
  const emitted: WeakRef<object>[] = [];
  getBus(auth).on("organization.member.removed", (event) => {
    emitted.push(new WeakRef(event));
    if (event.userId === "u_1") return new Promise(() => {});
  });

  void auth.adapter.delete({ model: "member", where: idIs("m_1") });
  await auth.adapter.delete({ model: "member", where: idIs("m_2") });
  await new Promise(setImmediate);
  runInNewContext("gc")();

  expect(emitted[1]!.deref()).toBeUndefined();
});

test("tables may have names of their own, and there may be no organization plugin", async () => {
  const emitted: unknown[] = [];
  const create = async (...plugins: BetterAuthPlugin[]) => {
    const auth = await startUp({
      database: memoryAdapter({
        people: [{ id: "u_1" }],
        membership: [{ id: "m_1", organizationId: "o_1", userId: "u_1", role: "owner" }],
      }),
      user: { modelName: "people" },
      plugins: [...plugins, standardEvents()],
    });
    getBus(auth).on("organization.member.removed", (event) => emitted.push(event));
    getBus(auth).on("user.deleted", (event) => emitted.push(event));
    return auth.adapter;
  };

  const adapter = await create();
  await adapter.delete({ model: "people", where: idIs("u_1") });
  const schema = { member: { modelName: "membership" } };
  const other = await create(organization({ schema }));
  await other.delete({ model: "membership", where: idIs("m_1") });

  expect(emitted).toEqual([
    { userId: "u_1", action: "deleted" },
    { organizationId: "o_1", userId: "u_1", role: "owner", action: "removed" },
  ]);
});

test("it is logged once, at the start, that an adapter could use transactions and does not", async () => {
  const dialect = new PostgresDialect({ pool: {} as never });
  const own = (options: BetterAuthOptions) => ({ ...memoryAdapter({})(options), options: {} });
  const warning = expect.stringContaining("Pass the adapter `transaction: true`");

  for (const [database, logged] of [
    [prismaAdapter({}, { provider: "postgresql" }), [warning]],
    [{ dialect, type: "postgres" }, [warning]],
    [prismaAdapter({}, { provider: "postgresql", transaction: true }), []],
    // The driver may have none, as D1's or better-sqlite3 under Drizzle.
    [prismaAdapter({}, { provider: "sqlite" }), []],
    [{ dialect, type: "sqlite" }, []],
    // An adapter of one's own may have no such option.
    [own as never, []],
  ] as const) {
    expect((await startUp({ database, plugins: [standardEvents()] })).logged).toEqual(logged);
  }
});

test("it is an error to list it twice", async () => {
  await expect(contextOf(standardEvents(), standardEvents())).rejects.toThrow(
    "standardEvents() is in the list of plugins twice",
  );
});
