import { once, EventEmitter } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { EventBus, type Events, type MemberEvent } from "@kernia/events";
import type PgBoss from "pg-boss";
import { beforeAll, describe, expect, test } from "vitest";
import { startForwardingApp } from "../../app/harness/app";
import { forkWorker } from "../../app/harness/forked-worker";
import { join } from "../../app/harness/people";
import { createDatabase, startEmbeddedPostgres, startPostgres } from "../../app/harness/postgres";
import { publish, startBoss, subscribe, work, type ForwardableEvent } from "./queue";
import type { WorkerMessage } from "./worker";
import { deferToEnd } from "../../app/harness/defer-to-end";

const defer = deferToEnd();

const added = "organization.member.added";
const memberEvent = (userId: string): Events[typeof added] => ({
  organizationId: "org_1",
  userId,
  role: "member",
  action: "added",
});

/** Waits until `reached` returns true. */
async function until(reached: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await reached())) await sleep(20);
}

async function unfinished(boss: PgBoss): Promise<number> {
  const { rows } = await boss
    .getDb()
    .executeSql("select count(*)::int as count from pgboss.job where state < 'completed'", []);
  return rows[0].count;
}

describe("a queue", () => {
  let boss: PgBoss;

  beforeAll(async () => {
    const databaseUrl = await createDatabase(await startPostgres(defer), defer);
    boss = await startBoss(databaseUrl, defer, { maintains: true });
  });

  test("gets every published event once, as does each other that subscribes", async () => {
    const names = ["one", "other"];
    const seen: Record<string, string[]> = { one: [], other: [] };
    for (const name of names) await subscribe(boss, name, [added]);
    const users = Array.from({ length: 20 }, (_, index) => `user_${index}`);

    await Promise.all(users.map((user) => publish(boss, added, memberEvent(user))));
    for (const name of names) {
      await work(boss, name, ({ userId }: MemberEvent) => seen[name]!.push(userId));
    }
    await until(async () => (await unfinished(boss)) === 0);

    expect(seen["one"]!.sort()).toEqual([...users].sort());
    expect(seen["other"]!.sort()).toEqual([...users].sort());
  });

  test.each<[ForwardableEvent, object]>([
    [added, memberEvent("ü ☃ \u{1f600}")],
    ["organization.member.removed", { ...memberEvent("u"), action: "removed" }],
    ["organization.member.updated", { ...memberEvent("u"), action: "updated" }],
    ["user.deleted", { userId: "u", action: "deleted" }],
  ])("hands over the payload of %s as it left", async (event, payload) => {
    const queue = `payload.${event}`;
    const arrived = new EventEmitter();
    await subscribe(boss, queue, [event]);

    await publish(boss, event, payload as never);
    const arrival = once(arrived, "payload");
    await work(boss, queue, (payload) => void arrived.emit("payload", payload));

    expect(await arrival).toEqual([payload]);
  });

  test("runs a handler that fails twice a third time, and no other again", async () => {
    const event = "user.deleted";
    let attempts = 0;
    let others = 0;
    await subscribe(boss, "fails-twice", [event]);
    await subscribe(boss, "succeeds", [event]);
    await work(boss, "fails-twice", async () => {
      if (++attempts < 3) throw new Error("not yet");
    });
    await work(boss, "succeeds", () => void others++);

    await publish(boss, event, { userId: "u", action: "deleted" });
    await until(async () => attempts === 3 && (await unfinished(boss)) === 0);

    expect({ attempts, others }).toEqual({ attempts: 3, others: 1 });
  });

  test("is shared by two workers, and no job runs twice", async () => {
    const event = "organization.member.updated";
    const seen: [string, string][] = [];
    await subscribe(boss, "shared", [event]);
    const users = Array.from({ length: 40 }, (_, index) => `user_${index}`);
    for (const user of users) {
      await publish(boss, event, { ...memberEvent(user), action: "updated" });
    }

    for (const worker of ["first", "second"]) {
      await work(boss, "shared", async ({ userId }: MemberEvent) => {
        seen.push([worker, userId]);
        await sleep(5);
      });
    }
    await until(async () => (await unfinished(boss)) === 0);

    expect(seen.map(([, userId]) => userId).sort()).toEqual([...users].sort());
    expect(new Set(seen.map(([worker]) => worker)).size).toBe(2);
  });
});

describe("a worker in a process of its own", () => {
  test("loses nothing when it is killed in the middle of a job", async () => {
    const { app, boss, databaseUrl } = await startForwardingApp(defer);
    const lovelace = await app.startOrganization();
    const worker = await forkWorker(databaseUrl, app.stripe.port, defer);

    app.stripe.fault = "hang";
    await join(lovelace.owner, lovelace.organizationId, "Bob");
    await worker.told(
      ({ kind, queue }: WorkerMessage) => kind === "starts" && queue === "seat-sync",
    );
    await worker.kill();
    app.stripe.fault = undefined;
    await join(lovelace.owner, lovelace.organizationId, "Carol");
    expect(await app.counts(lovelace)).toEqual({ members: 3, quantity: 1, seats: 1 });

    await forkWorker(databaseUrl, app.stripe.port, defer);
    await until(async () => (await unfinished(boss)) === 0);

    expect(await app.counts(lovelace)).toEqual({ members: 3, quantity: 3, seats: 3 });
    expect(await app.adapter.count({ model: "auditLog" })).toBeGreaterThanOrEqual(2);
  });

  test("ends with equal counts after the events of 1,000 members", async () => {
    const members = 1_000;
    const { app, boss, databaseUrl } = await startForwardingApp(defer);
    const lovelace = await app.startOrganization();
    const { organizationId } = lovelace;
    await forkWorker(databaseUrl, app.stripe.port, defer);
    const { pluginState } = (await app.auth.$context) as unknown as {
      pluginState: { events: EventBus };
    };

    const start = performance.now();
    for (let index = 0; index < members; index++) {
      const { id: userId } = await app.adapter.create({
        model: "user",
        data: {
          name: `Guest${index}`,
          email: `guest${index}@example.com`,
          emailVerified: false,
          createdAt: new Date(),
          updatedAt: new Date(),
        },
      });
      const member = { organizationId, userId, role: "member" };
      await app.adapter.create({ model: "member", data: { ...member, createdAt: new Date() } });
      await pluginState.events.emit(added, { ...member, action: "added" });
    }
    const emitted = performance.now();
    await until(async () => (await unfinished(boss)) === 0);
    const done = performance.now();

    const counts = await app.counts(lovelace);
    const auditRows = await app.adapter.count({ model: "auditLog" });
    console.log(
      `1,000 members: emitted in ${((emitted - start) / 1e3).toFixed(1)} s, all done after ` +
        `${((done - start) / 1e3).toFixed(1)} s; ${JSON.stringify({ ...counts, auditRows })}`,
    );
    expect(counts).toEqual({ members: 1_001, quantity: 1_001, seats: 1_001 });
    expect(auditRows).toBe(members);
    expect(app.errors).toEqual([]);
  });
});

describe("when PostgreSQL goes away", () => {
  test("each failure is logged, every emit settles, and forwarding goes on when it is back", async () => {
    const postgres = await startEmbeddedPostgres(defer);
    const boss = await startBoss(postgres.url, defer);
    await subscribe(boss, "survives", [added]);
    const logged: unknown[][] = [];
    const bus = new EventBus({ error: (...args) => logged.push(args) });
    const seen: string[] = [];
    bus.on(added, (event) => publish(boss, added, event));
    bus.on(added, ({ userId }) => seen.push(userId));
    await bus.emit(added, memberEvent("before"));

    await postgres.stop();
    await Promise.all(["down_1", "down_2", "down_3"].map((id) => bus.emit(added, memberEvent(id))));

    expect(logged.map(([message, event]) => [message, event])).toEqual(
      Array.from({ length: 3 }, () => ["Event handler failed:", added]),
    );
    expect(seen).toEqual(["before", "down_1", "down_2", "down_3"]);

    await postgres.startAgain();
    await bus.emit(added, memberEvent("after"));
    const jobs = await boss.fetch<MemberEvent>("survives", { batchSize: 10 });

    expect(logged).toHaveLength(3);
    expect(jobs.map(({ data }) => data.userId).sort()).toEqual(["after", "before"]);
  });
});
