import { randomUUID } from "node:crypto";
import { getBus } from "@kernia/events";
import { betterAuth, type AuthContext, type BetterAuthPlugin } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { organization } from "better-auth/plugins";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { deferToEnd } from "../fixtures/defer-to-end";
import { paths } from "../membership-changes/membership-changes";
import { Recorder } from "../membership-changes/recorder";
import {
  startPathServer,
  type PathServer,
  type PathServerOptions,
} from "../membership-changes/server";
import { deletedTooEarly, leadsTo, owed, readTables, sorted } from "../membership-changes/expected";
import type { Answer } from "../fixtures/client";
import { accept, invite, must, password } from "../fixtures/users";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();

const servers: [string, PathServerOptions][] = [
  ["with transactions", {}],
  [
    "without transactions, first among the plugins",
    { withoutTransactions: true, pluginsFirst: true },
  ],
  ["on one connection, with serial ids", { connections: 1, serialIds: true }],
];

describe.each(servers)("%s, what the tables call for is told:", (_, options) => {
  const recorder = new Recorder();
  let server: PathServer;

  beforeAll(async () => {
    const plugins = [recorder.plugin(), standardEvents()];
    server = await startPathServer(defer, { ...options, plugins });
    recorder.watch(server);
  });

  afterEach(() => {
    for (const hook of Object.keys(server.hooks)) delete server.hooks[hook as never];
  });

  const possible = paths.filter((path) => !options.withoutTransactions || !path.needsTransactions);

  test.each(possible)("$name", async ({ prepare, inSteps }) => {
    const change = await prepare(server);
    const before = await readTables(server.outside);
    recorder.begin();
    await change();
    const { handled } = recorder;
    const told = recorder.end();
    const after = await readTables(server.outside);

    expect(handled).toBe(told.length);
    expect(deletedTooEarly(told)).toBeUndefined();
    const right = inSteps && leadsTo(before, told, after) ? told : owed(before, after);
    expect(sorted(told)).toEqual(sorted(right));
    expect(inSteps ? [] : recorder.tooEarly).toEqual([]);
  });
});

test("it takes no query more, but for removals, changes of roles, and deletions", async () => {
  const [without, withEvents] = [
    await startPathServer(defer),
    await startPathServer(defer, { plugins: [standardEvents()] }),
  ];

  /** The number of queries of each request. */
  async function queries({ ada, queries, organization, signUp, join }: PathServer) {
    const organizationId = await organization();
    const [bob, carol, dave, eve] = [
      await signUp("Bob"),
      await join(organizationId),
      await join(organizationId),
      await join(organizationId),
    ];
    const invitationId = await invite(ada, organizationId, bob.email);
    const { email } = bob;
    const role = { organizationId, memberId: carol.memberId, role: "admin" };
    const removed = { organizationId, memberIdOrEmail: carol.memberId };
    const requests: Record<string, () => Promise<Answer>> = {
      "sign in": () => bob.client.post("/sign-in/email", { email, password }),
      "get the session": () => bob.client.get(`${bob.client.url}/api/auth/get-session`),
      "create an organization": () =>
        bob.client.post("/organization/create", { name: "new", slug: randomUUID() }),
      "accept an invitation": () => accept(bob, invitationId),
      "sign out": () => bob.client.post("/sign-out"),
      "change a role": () => ada.client.post("/organization/update-member-role", role),
      "remove a member": () => ada.client.post("/organization/remove-member", removed),
      leave: () => dave.client.post("/organization/leave", { organizationId }),
      "delete an account": () => eve.client.post("/delete-user", { password }),
      "delete an organization": () => ada.client.post("/organization/delete", { organizationId }),
    };
    const counts: Record<string, number> = {};
    for (const [name, request] of Object.entries(requests)) {
      queries.length = 0;
      must(await request());
      counts[name] = queries.length;
    }
    return counts;
  }

  const [before, after] = [await queries(without), await queries(withEvents)];
  const more = Object.keys(before).map((name) => [name, after[name]! - before[name]!] as const);
  console.log(`queries more: ${more.map(([name, count]) => `${name} ${count}`).join(", ")}`);

  expect(Object.fromEntries(more)).toEqual({
    "sign in": 0,
    "get the session": 0,
    "create an organization": 0,
    "accept an invitation": 0,
    "sign out": 0,
    "change a role": 1,
    "remove a member": 0,
    leave: 0,
    "delete an account": 6,
    "delete an organization": 6,
  });
});

describe("with the memory adapter", () => {
  /** Better Auth on three members and their users, with what is told. */
  async function createMemory(plugins: BetterAuthPlugin[] = [standardEvents()]) {
    const ids = ["1", "2", "3"];
    const auth = betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: memoryAdapter({
        user: ids.map((id) => ({ id: `u_${id}` })),
        organization: [{ id: "o_1" }],
        member: ids.map((id) => ({
          id: `m_${id}`,
          organizationId: "o_1",
          userId: `u_${id}`,
          role: "member",
        })),
      }),
      telemetry: { enabled: false },
      plugins: [organization() as BetterAuthPlugin, ...plugins],
    });
    return (await auth.$context) as unknown as AuthContext;
  }

  test("the members of a bulk change are told at the same time", async () => {
    const auth = await createMemory();
    let begun = 0;
    let tellAllHaveBegun = () => {};
    const allHaveBegun = new Promise<void>((resolve) => (tellAllHaveBegun = resolve));
    getBus(auth).on("organization.member.removed", async () => {
      if (++begun === 3) tellAllHaveBegun();
      // Would wait for ever if the next began only after this.
      await allHaveBegun;
    });

    await auth.adapter.deleteMany({
      model: "member",
      where: [{ field: "organizationId", value: "o_1" }],
    });

    expect(begun).toBe(3);
  });

  test("a handler may change members itself", async () => {
    const auth = await createMemory();
    const told: string[] = [];
    getBus(auth).on("organization.member.removed", async ({ userId }) => {
      told.push(userId);
      if (userId === "u_1") await auth.adapter.delete({ model: "member", where: memberIs("2") });
    });

    await auth.adapter.delete({ model: "member", where: memberIs("1") });

    expect(told).toEqual(["u_1", "u_2"]);
  });

  test("the adapter answers what it answers without the plugin", async () => {
    const [one, other] = [await createMemory([]), await createMemory()];
    const update = { role: "admin" };
    const none = [{ field: "id", value: "none" }];
    const user = [{ field: "id", value: "u_3" }];
    const answers = async ({ adapter }: AuthContext) => [
      await adapter.update({ model: "member", where: memberIs("1"), update }),
      await adapter.update({ model: "member", where: none, update }),
      await adapter.updateMany({ model: "member", where: memberIs("1"), update }),
      await adapter.updateMany({ model: "member", where: none, update }),
      await adapter.delete({ model: "member", where: memberIs("1") }),
      await adapter.delete({ model: "user", where: none }),
      await adapter.deleteMany({ model: "member", where: memberIs("2") }),
      await adapter.deleteMany({ model: "member", where: none }),
      await adapter.deleteMany({ model: "user", where: [{ field: "id", value: "u_1" }] }),
      await adapter.consumeOne({ model: "member", where: memberIs("3") }),
      await adapter.consumeOne({ model: "member", where: none }),
      await adapter.consumeOne({ model: "user", where: user }),
      await adapter.consumeOne({ model: "user", where: user }),
      await adapter.transaction(async () => "answer"),
    ];

    expect(await answers(other)).toEqual(await answers(one));
  });

  const memberIs = (id: string) => [{ field: "id", value: `m_${id}` }];
});

test("tables may have names of their own, and there may be no organization plugin", async () => {
  const told: unknown[] = [];
  const database: Record<string, object[]> = {};
  const create = (plugins: BetterAuthPlugin[]) =>
    betterAuth({
      baseURL: "http://localhost",
      secret: "a secret for a test, and for nothing else",
      database: memoryAdapter(database as never),
      telemetry: { enabled: false },
      user: { modelName: "people" },
      plugins: [
        ...plugins,
        standardEvents(),
        {
          id: "listener",
          init(auth) {
            const bus = getBus(auth);
            bus.on("organization.member.removed", (event) => told.push(event));
            bus.on("user.deleted", (event) => told.push(event));
          },
        },
      ],
    });
  Object.assign(database, { people: [{ id: "u_1" }, { id: "u_2" }], session: [], account: [] });
  database["membership"] = [{ id: "m_1", organizationId: "o_1", userId: "u_1", role: "owner" }];

  const plain = await create([]).$context;
  await plain.adapter.delete({ model: "people", where: [{ field: "id", value: "u_2" }] });
  const schema = { member: { modelName: "membership" } };
  const { adapter } = await create([organization({ schema }) as BetterAuthPlugin]).$context;
  await adapter.delete({ model: "membership", where: [{ field: "id", value: "m_1" }] });
  await adapter.delete({ model: "user", where: [{ field: "id", value: "u_1" }] });

  expect(told).toEqual([
    { userId: "u_2", action: "deleted" },
    { organizationId: "o_1", userId: "u_1", role: "owner", action: "removed" },
    { userId: "u_1", action: "deleted" },
  ]);
});
