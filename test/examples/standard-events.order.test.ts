import { getBus } from "@kernia/events";
import type { AuthContext, BetterAuthPlugin } from "better-auth";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import {
  deleteAccount,
  createScenario,
  idIs,
  type Scenario,
} from "../membership-changes/membership-change";
import { Recorder } from "../membership-changes/observe";
import {
  startPostgresServer,
  type Member,
  type PostgresServer,
} from "../membership-changes/server";
import { standardEvents } from "./standard-events";

type Adapter = AuthContext["adapter"];
type Method = "findMany" | "update" | "delete";

const defer = deferToEnd();
const recorder = new Recorder();
let server: PostgresServer;
let scenario: Scenario;
let adapter: Adapter;
const model = "member";
/** Runs once, before a call of the method, the first being 1. */
let interruption: { method: Method; call: number; run: () => unknown } | undefined;

/** Interrupts what `standardEvents()` calls, so that two requests overlap in the same way each time. */
function interrupt(adapter: Adapter): Adapter {
  for (const method of ["findMany", "update", "delete"] as const) {
    const original = adapter[method] as (query: unknown) => Promise<unknown>;
    // The methods differ in types that do not matter here.
    adapter[method] = (async (query: unknown) => {
      if (interruption?.method === method && --interruption.call === 0) {
        const { run } = interruption;
        interruption = undefined;
        await run();
      }
      return original(query);
    }) as never;
  }
  const { transaction } = adapter;
  adapter.transaction = (run) => transaction((inner) => run(interrupt({ ...inner } as Adapter)));
  return adapter;
}

beforeAll(async () => {
  /** Takes its time, with each event that the recorder receives after it. */
  const slow: BetterAuthPlugin = {
    id: "slow",
    init: (auth) =>
      void getBus(auth).on("organization.member.removed", () =>
        server.outside.query("select pg_sleep(0.01)"),
      ),
  };
  const interrupting: BetterAuthPlugin = {
    id: "interrupting",
    init: ({ adapter }) => void interrupt(adapter),
  };
  const plugins = [interrupting, standardEvents(), slow, recorder.plugin()];
  server = await startPostgresServer(defer, { plugins });
  recorder.server = server;
  adapter = server.adapter;
});

beforeEach(async () => {
  interruption = undefined;
  scenario = await createScenario(server);
  recorder.clear();
});

const setRole = (role: string) =>
  adapter.update({ model, where: idIs(scenario.bob.memberId), update: { role } });
const removeBob = () => adapter.delete({ model, where: idIs(scenario.bob.memberId) });
const isMember = async ({ memberId }: Member) =>
  (await server.database.readTables()).members.has(memberId);
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

const requests = {
  "remove the member": removeBob,
  "set admin": () => setRole("admin"),
  "set editor": () => setRole("editor"),
  "set member again": () => setRole("member"),
  "set admin instead of member": () => {
    const where = [...idIs(scenario.bob.memberId), { field: "role", value: "member" }];
    return adapter.update({ model, where, update: { role: "admin" } });
  },
};

test.each<[keyof typeof requests, keyof typeof requests, Method, number, string]>([
  ["remove the member", "remove the member", "findMany", 1, "removed member"],
  ["remove the member", "remove the member", "delete", 1, "removed member"],
  ["remove the member", "set admin", "delete", 1, "updated admin, removed admin"],
  ["set admin", "set admin", "update", 1, "updated admin"],
  ["set admin", "set editor", "update", 1, "updated editor, updated admin"],
  ["set admin", "set member again", "findMany", 2, "updated member, updated admin, updated member"],
  ["set admin", "remove the member", "update", 1, "removed member"],
  ["set admin", "remove the member", "findMany", 2, "removed admin"],
  ["set admin instead of member", "set editor", "update", 1, "updated editor"],
])("of two requests to %s and to %s, before %s %i of the first, %s is emitted", async (...row) => {
  const [request, other, method, call, events] = row;
  interruption = { method, call, run: requests[other] };
  await requests[request]();

  expect(emitted().join(", ")).toBe(events);
});

test("where the read before a statement fails, that is not run, and nothing is emitted", async () => {
  interruption = { method: "findMany", call: 1, run: fail };
  await expect(removeBob()).rejects.toThrow("the connection is lost");

  expect(emitted()).toEqual([]);
  expect(await isMember(scenario.bob)).toBe(true);
});

test.each([
  ["a removal", removeBob, "removed member"],
  ["a change of a role", () => setRole("admin"), "updated admin"],
])("where the read after %s fails, that succeeds, and is emitted", async (_, run, event) => {
  interruption = { method: "findMany", call: 2, run: fail };
  await run();

  expect(emitted()).toEqual([event]);
});

test("where a read in a transaction fails, so does that, and nothing is emitted", async () => {
  const where = idIs(scenario.bob.memberId);
  interruption = { method: "findMany", call: 2, run: fail };
  const answer = adapter.transaction((transaction) => transaction.delete({ model, where }));
  await expect(answer).rejects.toThrow("the connection is lost");

  expect(emitted()).toEqual([]);
  expect(await isMember(scenario.bob)).toBe(true);
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
