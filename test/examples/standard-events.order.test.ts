import { getBus } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import { Interruption, type Method } from "../fixtures/interruption";
import {
  deleteAccount,
  createScenario,
  idIs,
  type Scenario,
} from "../membership-changes/membership-change";
import { Recorder } from "../membership-changes/observe";
import { startPostgresServer, type PostgresServer } from "../membership-changes/server";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();
const recorder = new Recorder();
const interruption = new Interruption();
let server: PostgresServer;
let scenario: Scenario;
let adapter: AuthContext["adapter"];
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
  const plugins = [interruption.plugin(), standardEvents(), slow, recorder.plugin()];
  server = await startPostgresServer(defer, { plugins });
  recorder.server = server;
  adapter = server.adapter;
});

beforeEach(async () => {
  interruption.clear();
  scenario = await createScenario(server);
  recorder.clear();
});

const setRole = (role: string) =>
  adapter.update({ model, where: idIs(scenario.bob.memberId), update: { role } });
const removeBob = () => adapter.delete({ model, where: idIs(scenario.bob.memberId) });
/** As `removed member`, which is what happened and the role. */
const emitted = () =>
  recorder.events.map(([, payload]) =>
    "role" in payload ? `${payload.action} ${payload.role}` : payload.action,
  );
const fail = () => {
  throw new Error("the connection is lost");
};

test("each event is handled before the next is emitted, however slow a handler is", async () => {
  await deleteAccount(scenario.bob);

  expect(emitted()).toEqual(["removed member", "deleted"]);
});

describe("two requests at the same time", () => {
  test.each<Method>(["findMany", "delete"])(
    "of two requests that delete a member, the second before %s of the first, one emits it",
    async (before) => {
      interruption.before(before, 1, removeBob);
      await removeBob();

      expect(emitted()).toEqual(["removed member"]);
    },
  );

  test("of two requests that set the same role, one emits it", async () => {
    interruption.before("update", 1, () => setRole("admin"));
    await setRole("admin");

    expect(emitted()).toEqual(["updated admin"]);
  });

  test("of two requests that set two roles, both emit", async () => {
    interruption.before("update", 1, () => setRole("editor"));
    await setRole("admin");

    expect(emitted()).toEqual(["updated editor", "updated admin"]);
  });

  test("where one request sets back the role of the other, the last event has the role in the table", async () => {
    interruption.before("findMany", 2, () => setRole("member"));
    await setRole("admin");

    expect(emitted()).toContain("updated admin");
    expect(emitted().at(-1)).toBe("updated member");
  });

  test.each<[Method, number, string]>([
    ["update", 1, "removed member"],
    ["findMany", 2, "removed admin"],
  ])(
    "of a member who is removed while the role is set, before %s %i, only the removal is emitted",
    async (...row) => {
      const [method, call, event] = row;
      interruption.before(method, call, removeBob);
      await setRole("admin");

      expect(emitted()).toEqual([event]);
    },
  );

  test("a role that depends on another, which is no longer set, is not emitted", async () => {
    const where = [...idIs(scenario.bob.memberId), { field: "role", value: "member" }];
    interruption.before("update", 1, () => setRole("editor"));
    await adapter.update({ model, where, update: { role: "admin" } });

    expect(emitted()).toEqual(["updated editor"]);
  });

  test("a removal has the role that was set after it was read", async () => {
    interruption.before("delete", 1, () => setRole("admin"));
    await removeBob();

    expect(emitted()).toEqual(["updated admin", "removed admin"]);
  });
});

describe("a read that fails", () => {
  test("where the read before a statement fails, that is not run, and nothing is emitted", async () => {
    interruption.before("findMany", 1, fail);
    await expect(removeBob()).rejects.toThrow("the connection is lost");

    expect(emitted()).toEqual([]);
    expect(await server.database.outside.count("member", { id: scenario.bob.memberId })).toBe(1);
  });

  test.each([
    ["a removal", removeBob, "removed member"],
    ["a change of a role", () => setRole("admin"), "updated admin"],
  ])("where the read after %s fails, that succeeds, and is emitted", async (_, run, event) => {
    interruption.before("findMany", 2, fail);
    await run();

    expect(emitted()).toEqual([event]);
  });

  test("where a read in a transaction fails, so does that, and nothing is emitted", async () => {
    const where = idIs(scenario.bob.memberId);
    interruption.before("findMany", 2, fail);
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

test("a member who is moved to another organization, with the same role, is removed, then added", async () => {
  const update = { organizationId: await server.organization() };
  recorder.clear();
  await adapter.update({ model, where: idIs(scenario.bob.memberId), update });

  expect(emitted()).toEqual(["removed member", "added member"]);
});

test("a transaction that the adapter runs again is emitted once", async () => {
  const { userId } = await server.signUp("Dave");
  const { organizationId } = scenario;
  const data = { organizationId, userId, role: "editor", createdAt: new Date() };
  interruption.runTransactionsAgain();
  await adapter.transaction((transaction) => transaction.create({ model, data }));

  expect(emitted()).toEqual(["added editor"]);
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

  expect(emitted()).toEqual(["removed member", "added owner", "removed owner"]);
});
