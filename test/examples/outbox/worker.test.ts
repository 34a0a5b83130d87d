import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { startChild } from "../../fixtures/child";
import type { Defer } from "../../fixtures/deferred";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutboxDatabase, takeEvents, untilAllDone } from "../../fixtures/outbox";
import {
  accept,
  createOrganization,
  invite,
  must,
  signUp,
  type TestUser,
} from "../../fixtures/users";
import { seatPriceId } from "../../fixtures/plans";
import { StripeServer } from "../../fixtures/stripe-server";
import type { AuthServerMessage } from "../../demo/queue-auth-server";
import type { WorkerMessage } from "../../demo/queue-worker";

const defer = deferToEnd();
/** What takes ten seconds may take more than a minute where other tests run beside it. */
const busyMachine = 180_000;

/** At the URL where it was, if it was anywhere. */
function startAuthServer(databaseUrl: string, defer: Defer, url = "http://localhost:0", env = {}) {
  const module = new URL("../../demo/queue-auth-server.ts", import.meta.url);
  return startChild<AuthServerMessage>(module, {
    env: { DATABASE_URL: databaseUrl, PORT: new URL(url).port, ...env },
    defer,
  });
}

describe("an auth server that is killed", () => {
  let databaseUrl: string;
  let pool: pg.Pool;
  let url: string;
  let server: Awaited<ReturnType<typeof startAuthServer>>;
  let ada: TestUser;
  let organizationId: string;
  let people: TestUser[];

  beforeAll(async () => {
    ({ databaseUrl, pool } = await createOutboxDatabase(defer));
    server = await startAuthServer(databaseUrl, defer);
    ({ url } = server.ready);
    ada = await signUp(url, "Ada");
    organizationId = await createOrganization(ada, "Lovelace");
    people = await Promise.all(
      Array.from({ length: 8 }, (_, index) => signUp(url, `Guest${index}`)),
    );
    await takeEvents(pool);
  });

  test("between the change and where a plugin would publish loses no event", async () => {
    const [bob] = people as [TestUser];
    const invitationId = await invite(ada, organizationId, bob.email);
    await server.kill();
    server = await startAuthServer(databaseUrl, defer, url, { DIES: "1" });
    await expect(accept(bob, invitationId)).rejects.toThrow("fetch failed");
    await server.exited;

    const { userId } = bob;
    expect(await takeEvents(pool)).toEqual([
      ["organization.member.added", { organizationId, userId, role: "member", action: "added" }],
    ]);
    server = await startAuthServer(databaseUrl, defer, url);
    must(await bob.client.post("/organization/leave", { organizationId }));
    expect(await takeEvents(pool)).toHaveLength(1);
  });

  test(
    "at random moments while eight people come and go loses none and adds none",
    async () => {
      const rounds = 6;
      const isMember = async ({ userId }: TestUser) => {
        const query = `select from member where "userId" = $1`;
        return (await pool.query(query, [userId])).rowCount === 1;
      };
      async function comeAndGo(person: TestUser): Promise<never> {
        for (let member = await isMember(person); ; member = !member, changes++) {
          if (member) must(await person.client.post("/organization/leave", { organizationId }));
          else must(await accept(person, await invite(ada, organizationId, person.email)));
        }
      }

      let interrupted = 0;
      let changes = 0;
      for (let round = 0; round < rounds; round++) {
        const comingAndGoing = people.map((person) => comeAndGo(person).catch(() => interrupted++));
        const soFar = changes;
        await vi.waitFor(() => expect(changes).toBeGreaterThan(soFar + 3), 30_000);
        await sleep(200 * Math.random());
        await server.kill();
        await Promise.all(comingAndGoing);
        // Nobody is invited twice, and who was to accept is gone.
        await pool.query("delete from invitation");
        server = await startAuthServer(databaseUrl, defer, url);
      }

      const events = (await takeEvents(pool)) as [string, { userId: string; action: string }][];
      for (const person of people) {
        const actions = events
          .filter(([, { userId }]) => userId === person.userId)
          .map(([, { action }]) => action);
        expect(actions).toEqual(actions.map((_, index) => (index % 2 ? "removed" : "added")));
        expect(await isMember(person)).toBe(actions.length % 2 === 1);
      }
      expect(interrupted).toBe(rounds * people.length);
      expect(events.length).toBeGreaterThanOrEqual(changes);
      console.log(`killed ${rounds} times: ${events.length} changes, each told once and in order`);
    },
    busyMachine,
  );
});

describe("a worker in a process of its own", () => {
  async function startOrganization({ people }: { people: number }) {
    const { databaseUrl, pool } = await createOutboxDatabase(defer);
    const stripe = await new StripeServer().start();
    defer(() => stripe.stop());
    stripe.addSubscription({
      id: "sub_1",
      status: "active",
      items: [{ id: "si_seats", price: { id: seatPriceId }, quantity: 1 }],
    });
    await pool.query(`
      insert into organization (id, name, slug, "createdAt") values ('org', 'o', 'o', now());
      insert into subscription (id, plan, "referenceId", "stripeSubscriptionId", status, seats)
      values ('sub', 'team', 'org', 'sub_1', 'active', 1);
      insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
      select 'u' || n, n, n || '@example.com', false, now(), now()
      from generate_series(1, ${people}) n`);

    return {
      pool,
      stripe,
      startWorker: (env = {}) =>
        startChild<WorkerMessage>(new URL("../../demo/queue-worker.ts", import.meta.url), {
          env: { DATABASE_URL: databaseUrl, STRIPE_PORT: String(stripe.port), ...env },
          defer,
        }),
      addMembers: (from: number, to: number) =>
        pool.query(
          `insert into member (id, "organizationId", "userId", role, "createdAt")
          select 'm' || n, 'org', 'u' || n, 'member', now()
          from generate_series($1::int, $2::int) n`,
          [from, to],
        ),
      async counts() {
        const { rows } = await pool.query(`select
          (select count(*)::int from member) as members,
          (select seats from subscription) as seats,
          (select count(*)::int from "auditLog") as "auditRows"`);
        return { ...rows[0], quantity: stripe.quantity("sub_1", seatPriceId) };
      },
    };
  }

  test("loses nothing and doubles nothing when it is killed in the middle of a job", async () => {
    const { pool, stripe, startWorker, addMembers, counts } = await startOrganization({
      people: 3,
    });
    const worker = await startWorker();
    stripe.fault = "hang";
    await addMembers(1, 1);
    await worker.told(({ kind, queue }) => kind === "starts" && queue === "seat-sync");
    await worker.kill();
    stripe.fault = undefined;
    await addMembers(2, 3);
    expect(await counts()).toMatchObject({ members: 3, quantity: 1, seats: 1 });

    await startWorker();
    await untilAllDone(pool);

    expect(await counts()).toEqual({ members: 3, quantity: 3, seats: 3, auditRows: 3 });
  });

  test(
    "ends with equal counts after one statement that adds 10,000 members",
    async () => {
      const people = 10_000;
      const { pool, startWorker, addMembers, counts } = await startOrganization({ people });
      const timed = async (run: () => Promise<unknown>) => {
        const start = performance.now();
        await run();
        return performance.now() - start;
      };
      await pool.query("alter table member disable trigger event_outbox_member");
      const without = await timed(() => addMembers(1, people));
      await pool.query("delete from member");
      await pool.query("alter table member enable trigger event_outbox_member");
      await startWorker({ CONCURRENCY: "100" });

      const start = performance.now();
      const inserted = await timed(() => addMembers(1, people));
      const outboxEmpty = timed(async () => {
        const query = "select count(*)::int as count from event_outbox";
        while ((await pool.query(query)).rows[0].count > 0) await sleep(50);
      });
      await untilAllDone(pool);
      const seconds = (milliseconds: number) => `${(milliseconds / 1e3).toFixed(2)} s`;
      console.log(
        `10,000 members: inserted in ${seconds(without)} without triggers, ` +
          `in ${seconds(inserted)} with; the outbox empty after ${seconds(await outboxEmpty)}, ` +
          `two queues after ${seconds(performance.now() - start)}`,
      );
      expect(await counts()).toEqual({
        members: people,
        quantity: people,
        seats: people,
        auditRows: people,
      });
    },
    busyMachine,
  );
});
