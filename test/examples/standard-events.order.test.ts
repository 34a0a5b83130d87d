import { getBus } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import {
  deleteAccount,
  createScenario,
  idIs,
  type Scenario,
} from "../membership-changes/membership-change";
import { Recorder } from "../membership-changes/observe";
import { startPostgresServer, type PostgresServer } from "../membership-changes/server";
import { standardEvents } from "./standard-events";

type Adapter = AuthContext["adapter"];
type Method = "findMany" | "update" | "delete";

/** Runs once, before a call of the adapter; the reads of standard-events are calls of `findMany`. */
let interruption: { method: Method; calls: number; run: () => unknown } | undefined;
/** Whether the adapter runs each transaction a second time, after it rolled back the first. */
let runsTransactionsAgain = false;

function interrupt(method: Method, calls: number, run: () => unknown): void {
  interruption = { method, calls, run };
}

function interruptible(adapter: Adapter): Adapter {
  for (const method of ["findMany", "update", "delete"] as const) {
    const original = adapter[method] as (query: unknown) => Promise<unknown>;
    adapter[method] = (async (query: unknown) => {
      if (interruption?.method === method && --interruption.calls === 0) {
        const { run } = interruption;
        interruption = undefined;
        await run();
      }
      return original(query);
    }) as never;
  }
  const { transaction } = adapter;
  adapter.transaction = async (run) => {
    const runHere = (inner: object) => run(interruptible({ ...inner } as Adapter));
    if (runsTransactionsAgain) {
      const rollBack = (inner: object) =>
        runHere(inner).then(() => Promise.reject(new Error("again")));
      await transaction(rollBack).catch(() => {});
    }
    return transaction(runHere);
  };
  return adapter;
}

const interrupting: BetterAuthPlugin = {
  id: "interrupting",
  init: ({ adapter }) => void interruptible(adapter),
};

const defer = deferToEnd();
const recorder = new Recorder();
let server: PostgresServer;
let scenario: Scenario;
let adapter: Adapter;
const model = "member";

beforeAll(async () => {
  /** Takes its time, with each event that the recorder receives after it. */
  const slow: BetterAuthPlugin = {
    id: "slow",
    init: (auth) =>
      void getBus(auth).on("organization.member.removed", () =>
        server.outside.query("select pg_sleep(0.01)"),
      ),
  };
  const plugins = [interrupting, standardEvents(), slow, recorder.plugin()];
  server = await startPostgresServer(defer, { plugins });
  recorder.server = server;
  adapter = server.adapter;
});

beforeEach(async () => {
  interruption = undefined;
  runsTransactionsAgain = false;
  scenario = await createScenario(server);
  recorder.clear();
});

const setRole = (role: string) =>
  adapter.update({ model, where: idIs(scenario.bob.memberId), update: { role } });
const removeBob = () => adapter.delete({ model, where: idIs(scenario.bob.memberId) });
const emitted = () =>
  recorder.events.map(([event, payload]) =>
    event === "user.deleted" || event === "organization.member.removed"
      ? event
      : `${event} ${payload.role}`,
  );
const fail = () => {
  throw new Error("the connection is lost");
};

test("each event is handled before the next is emitted, however slow a handler is", async () => {
  await deleteAccount(scenario.bob);

  expect(emitted()).toEqual(["organization.member.removed", "user.deleted"]);
});

describe("of two requests at the same time", () => {
  test.each<Method>(["findMany", "delete"])(
    "that delete a member, before %s, one emits it",
    async (before) => {
      interrupt(before, 1, removeBob);
      await removeBob();

      expect(emitted()).toEqual(["organization.member.removed"]);
    },
  );

  test("that set the same role, one emits it", async () => {
    interrupt("update", 1, () => setRole("admin"));
    await setRole("admin");

    expect(emitted()).toEqual(["organization.member.updated admin"]);
  });

  test("that set two roles, both emit", async () => {
    interrupt("update", 1, () => setRole("editor"));
    await setRole("admin");

    expect(emitted()).toEqual([
      "organization.member.updated editor",
      "organization.member.updated admin",
    ]);
  });

  test("of which one sets back the role that the other has set, the last event is what the table has", async () => {
    interrupt("findMany", 2, () => setRole("member"));
    await setRole("admin");

    expect(emitted()).toContain("organization.member.updated admin");
    expect(emitted().at(-1)).toBe("organization.member.updated member");
  });

  test.each<[Method, number]>([
    ["update", 1],
    ["findMany", 2],
  ])(
    "of which one removes the member whose role the other sets, before %s %i, one emits the removal",
    async (method, calls) => {
      interrupt(method, calls, removeBob);
      await setRole("admin");

      expect(emitted().filter((event) => event === "organization.member.removed")).toHaveLength(1);
    },
  );
});

describe("when a read fails", () => {
  test("before the statement, that is not run, and nothing is emitted", async () => {
    interrupt("findMany", 1, fail);
    await expect(removeBob()).rejects.toThrow("the connection is lost");

    expect(emitted()).toEqual([]);
    expect(await server.database.outside.count("member", { id: scenario.bob.memberId })).toBe(1);
  });

  test.each([
    ["a removal", removeBob, "organization.member.removed"],
    ["a change of a role", () => setRole("admin"), "organization.member.updated admin"],
  ])("after %s, that succeeds, and is emitted", async (_, run, event) => {
    interrupt("findMany", 2, fail);
    await run();

    expect(emitted()).toEqual([event]);
  });

  test("in a transaction, that fails, and nothing is emitted", async () => {
    const where = idIs(scenario.bob.memberId);
    interrupt("findMany", 2, fail);
    const answer = adapter.transaction((transaction) => transaction.delete({ model, where }));
    await expect(answer).rejects.toThrow("the connection is lost");

    expect(emitted()).toEqual([]);
    expect(await server.database.outside.count("member", { id: scenario.bob.memberId })).toBe(1);
  });
});

test("what a foreign key refuses fails as it does without the plugin, and is not emitted", async () => {
  await server.outside.query(`create table invoice ("userId" text references "user")`);
  await server.outside.query("insert into invoice values ($1)", [scenario.bob.userId]);

  const deletion = adapter.delete({ model: "user", where: idIs(scenario.bob.userId) });
  await expect(deletion).rejects.toMatchObject({ code: "23503" });

  expect(emitted()).toEqual([]);
});

test("a transaction that the adapter runs again is emitted once", async () => {
  runsTransactionsAgain = true;
  const where = idIs(scenario.bob.memberId);
  await adapter.transaction((transaction) => transaction.delete({ model, where }));

  expect(emitted()).toEqual(["organization.member.removed"]);
});

test("a row that comes back under its id is a member again", async () => {
  const { memberId: id, userId } = scenario.bob;
  const { organizationId } = scenario;
  const data = { id, organizationId, userId, role: "owner", createdAt: new Date() };
  await adapter.transaction(async (transaction) => {
    await transaction.delete({ model, where: idIs(id) });
    await transaction.create({ model, data, forceAllowId: true });
    await transaction.delete({ model, where: idIs(id) });
  });

  expect(emitted()).toEqual([
    "organization.member.removed",
    "organization.member.added owner",
    "organization.member.removed",
  ]);
});

test("each server emits the changes that it made, and no others", async () => {
  const otherRecorder = new Recorder();
  const other = await startPostgresServer(defer, {
    databaseUrl: server.databaseUrl,
    plugins: [standardEvents(), otherRecorder.plugin()],
  });
  otherRecorder.server = other;
  otherRecorder.clear();
  recorder.clear();
  await setRole("admin");
  await other.adapter.delete({ model, where: idIs(scenario.bob.memberId) });

  expect(emitted()).toEqual(["organization.member.updated admin"]);
  expect(otherRecorder.events.map(([event]) => event)).toEqual(["organization.member.removed"]);
});
