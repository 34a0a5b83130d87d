import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type pg from "pg";
import PgBoss from "pg-boss";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { Deferred } from "../../fixtures/deferred";
import { createOutboxDatabase, untilAllDone } from "../../fixtures/outbox";
import { createWebhook, type WebhookJob, type WebhookOptions } from "./webhook";
import { startWorker, type Queues } from "./worker";

const defer = deferToEnd();

const secret = `whsec_${Buffer.alloc(24, "one").toString("base64")}`;
const otherSecret = `whsec_${Buffer.alloc(64, "two").toString("base64")}`;
const job: WebhookJob = {
  id: "0b6bd8e9-3c3f-4d0c-9b1e-1d5d3f0a2f11",
  event: "user.deleted",
  createdAt: new Date("2026-01-02T03:04:05.678Z"),
};
const payload = { userId: "Ådä \"'\n", action: "deleted" };

interface Received {
  readonly headers: Record<string, string>;
  readonly body: string;
}

let deferred: Deferred;
let receiver: Awaited<ReturnType<typeof startReceiver>>;

beforeEach(async () => {
  deferred = new Deferred();
  receiver = await startReceiver();
});

afterEach(async () => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  await deferred.run();
});

/** A real server, which answers with 204 unless told otherwise. */
async function startReceiver(port = 0) {
  const received: Received[] = [];
  const state = { answer: (response: ServerResponse): unknown => response.writeHead(204).end() };
  const server = createServer(async (request, response) => {
    const headers = request.headers as Record<string, string>;
    received.push({ headers, body: await text(request) });
    state.answer(response);
    server.emit("received");
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const { port: listens } = server.address() as AddressInfo;
  async function kill(): Promise<void> {
    if (!server.listening) return;
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }
  deferred.defer(kill);
  return {
    received,
    port: listens,
    origin: `http://127.0.0.1:${listens}`,
    url: `http://127.0.0.1:${listens}/hooks?token=hidden`,
    /** What the answer to the next requests is. */
    answer: (answer: (response: ServerResponse) => unknown) => void (state.answer = answer),
    status: (status: number) =>
      void (state.answer = (response) => response.writeHead(status).end()),
    next: () => once(server, "received"),
    kill,
  };
}

function post(options: Partial<WebhookOptions> = {}): Promise<void> {
  return createWebhook({ url: receiver.url, secrets: [secret], ...options })(payload, job);
}

const verify = (secret: string, { body, headers }: Received) =>
  new Webhook(secret).verify(body, headers);

describe("what is posted", () => {
  test("is the event, signed as Standard Webhooks says", async () => {
    await post();
    const [request] = receiver.received as [Received];
    expect(verify(secret, request)).toEqual({
      type: "user.deleted",
      timestamp: "2026-01-02T03:04:05.678Z",
      data: payload,
    });
    expect(request.headers).toMatchObject({
      "webhook-id": job.id,
      "content-type": "application/json",
    });
    expect(() => verify(otherSecret, request)).toThrow("No matching signature");
  });

  test("has the same id and body when it is tried again, and the time of the attempt", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: new Date("2026-02-01T00:00:00.900Z") });
    await post();
    vi.setSystemTime("2026-02-03T00:00:00.100Z");
    await post();
    const [first, second] = receiver.received as [Received, Received];
    expect(second.body).toBe(first.body);
    expect(second.headers["webhook-id"]).toBe(first.headers["webhook-id"]);
    const times = [first, second].map(
      ({ headers }) => Number(headers["webhook-timestamp"]) * 1_000,
    );
    expect(times).toEqual([Date.parse("2026-02-01T00:00:00Z"), Date.parse("2026-02-03T00:00:00Z")]);
    verify(secret, second);
  });

  test("is signed with each secret while one is being exchanged", async () => {
    await post({ secrets: [otherSecret, secret] });
    const [request] = receiver.received as [Received];
    expect(verify(secret, request)).toEqual(verify(otherSecret, request));
    expect(request.headers["webhook-signature"]).toMatch(/^v1,\S+ v1,\S+$/);
  });
});

describe("is done after", () => {
  test.each([200, 201, 202, 204, 299])("an answer of %i", async (status) => {
    receiver.status(status);
    await post();
    expect(receiver.received).toHaveLength(1);
  });

  test("an answer that takes its time", async () => {
    let respond = () => {};
    receiver.answer((response) => (respond = () => response.writeHead(200).end()));
    const [posted] = [post(), await receiver.next()];
    respond();
    await posted;
  });

  test("a good answer whose body stops, or never ends, which is not read", async () => {
    for (const goOn of [false, true]) {
      const closed = new Promise((resolve) => {
        receiver.answer((response) => {
          response.on("close", resolve);
          response.writeHead(200);
          const writeMore = () =>
            void response.write("x".repeat(100_000), goOn ? writeMore : () => {});
          writeMore();
        });
      });
      await post();
      await closed;
    }
  });
});

describe("fails, and says where without the rest of the URL, after", () => {
  const failure = (options?: Partial<WebhookOptions>): Promise<Error> =>
    post(options).then(
      () => expect.unreachable("it should fail"),
      (error: Error) => error,
    );

  test.each([304, 400, 401, 404, 409, 429, 500, 503])("an answer of %i", async (status) => {
    receiver.status(status);
    const { message } = await failure();
    expect(message).toBe(`The webhook at ${receiver.origin} answered ${status}`);
  });

  test.each([301, 302, 303, 307, 308])(
    "a redirect by %i, which it does not follow",
    async (status) => {
      const target = await startReceiver();
      receiver.answer((response) => response.writeHead(status, { location: target.url }).end());
      const { message } = await failure();
      expect(message).toBe(`The webhook at ${receiver.origin} answered ${status}`);
      expect(target.received).toEqual([]);
    },
  );

  test("15 seconds without an answer", async () => {
    const { timeout } = AbortSignal;
    const limit = vi.spyOn(AbortSignal, "timeout").mockImplementation(() => timeout(100));
    const closed = new Promise((resolve) =>
      receiver.answer((response) => response.on("close", resolve)),
    );
    const { message, cause } = await failure();
    expect(message).toBe(`The webhook at ${receiver.origin} did not answer`);
    expect(cause).toMatchObject({ name: "TimeoutError" });
    expect(limit).toHaveBeenCalledExactlyOnceWith(15_000);
    await closed;
  });

  test("a connection that breaks", async () => {
    receiver.answer((response) => response.destroy());
    expect(await failure()).toMatchObject({
      message: `The webhook at ${receiver.origin} did not answer`,
    });
  });

  test("finding nobody there, until somebody is", async () => {
    await receiver.kill();
    const { message, cause } = await failure();
    expect(message).toBe(`The webhook at ${receiver.origin} did not answer`);
    expect(JSON.stringify([message, String((cause as Error).cause)])).not.toMatch(/hidden|whsec/);
    receiver = await startReceiver(receiver.port);
    await post();
    expect(receiver.received).toHaveLength(1);
  });
});

describe("an answer of 410", () => {
  beforeEach(() => receiver.status(410));

  test("is the end, of which the callback is told", async () => {
    const onGone = vi.fn();
    await post({ onGone });
    expect(onGone).toHaveBeenCalledExactlyOnceWith(job);
  });

  test("is logged if there is no callback", async () => {
    const log = vi.spyOn(console, "error").mockImplementation(() => {});
    await post();
    expect(log).toHaveBeenCalledExactlyOnceWith(
      `The webhook at ${receiver.origin} is gone, and was not told of user.deleted ${job.id}`,
    );
  });

  test("is tried again if the callback fails", async () => {
    const onGone = () => Promise.reject(new Error("could not write it down"));
    await expect(post({ onGone })).rejects.toThrow("could not write it down");
  });
});

describe("creating it throws, without the secret, for", () => {
  const create = (options: Partial<WebhookOptions>) => () =>
    createWebhook({ url: "https://example.com", secrets: [secret], ...options });

  test.each(["", "example.com", "/hooks", "ftp://example.com", "file:///etc", "javascript:1"])(
    "the URL %j",
    (url) => {
      expect(create({ url })).toThrow(
        new TypeError("the URL of a webhook must begin with https:// or http://"),
      );
    },
  );

  test("a URL with a password, which fetch would refuse", () => {
    expect(create({ url: "https://ada:lovelace@example.com" })).toThrow(
      new TypeError("the URL of a webhook may not have a user or a password in it"),
    );
  });

  test("no secret", () => {
    expect(create({ secrets: [] })).toThrow(new TypeError("a webhook needs at least one secret"));
  });

  test.each([
    ["an empty one", ""],
    ["a prefix alone", "whsec_"],
    ["one that is not base64", `${secret.slice(0, -1)}!`],
    ["one with a newline", `${secret}\n`],
    ["one of another alphabet", `whsec_${"_-".repeat(16)}`],
    ["one that is too short", `whsec_${Buffer.alloc(23).toString("base64")}`],
    ["one that is too long", `whsec_${Buffer.alloc(65).toString("base64")}`],
  ])("a malformed secret: %s", (_, malformed) => {
    expect(create({ secrets: [secret, malformed] })).toThrow(
      new TypeError("secret 2 of a webhook must be whsec_ and 24 to 64 bytes in base64"),
    );
  });
});

describe("in a queue of the worker", () => {
  let databaseUrl: string;
  let pool: pg.Pool;

  beforeAll(async () => {
    ({ databaseUrl, pool } = await createOutboxDatabase(defer));
  });

  beforeEach(() => pool.query("drop schema if exists pgboss cascade"));

  async function start(queues: Queues): Promise<void> {
    const boss = new PgBoss({ connectionString: databaseUrl, schedule: false });
    await boss.start();
    const logger = { error: () => {} };
    const worker = await startWorker({ databaseUrl, boss, queues, logger });
    deferred.defer(worker.stop);
  }

  /** Returns the time of the change. */
  async function deleteUser(): Promise<Date> {
    await pool.query(`
      insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
      values ('ada', 'Ada', 'ada@example.com', false, now(), now())`);
    const { rows } = await pool.query(`
      with deleted as (delete from "user" where id = 'ada') select now() as "deletedAt"`);
    return rows[0].deletedAt;
  }

  const queueFor = (url: string) => ({ "user.deleted": createWebhook({ url, secrets: [secret] }) });

  const jobsOf = async (queue: string) => {
    const query = "select data->>'id' as id, state from pgboss.job where name = $1";
    return (await pool.query(query, [queue])).rows;
  };

  test("tells of a change with its time, and the job's id at each attempt", async () => {
    await start({ hooks: queueFor(receiver.url) });
    receiver.status(500);
    const failed = receiver.next();
    const timestamp = (await deleteUser()).toISOString();
    await failed;
    const { port, received } = receiver;
    await receiver.kill();
    receiver = await startReceiver(port);
    await untilAllDone(pool);

    const [first, second] = [...received, ...receiver.received] as [Received, Received];
    expect(second.body).toBe(first.body);
    const data = { userId: "ada", action: "deleted" };
    expect(verify(secret, second)).toEqual({ type: "user.deleted", timestamp, data });
    const id = first.headers["webhook-id"];
    expect(second.headers["webhook-id"]).toBe(id);
    expect(await jobsOf("hooks")).toEqual([{ id, state: "completed" }]);
  });

  test("posts once to where the answer is 410", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    await start({ hooks: queueFor(receiver.url) });
    receiver.status(410);
    await deleteUser();
    await receiver.next();
    await untilAllDone(pool);
    expect(receiver.received).toHaveLength(1);
    expect(await jobsOf("hooks")).toMatchObject([{ state: "completed" }]);
  });

  test("holds up no other queue where nobody answers", async () => {
    const hanging = await startReceiver();
    hanging.answer(() => {});
    await start({ hanging: queueFor(hanging.url), healthy: queueFor(receiver.url) });
    const both = Promise.all([hanging.next(), receiver.next()]);
    await deleteUser();
    await both;
    await vi.waitFor(async () => {
      expect(await jobsOf("healthy")).toMatchObject([{ state: "completed" }]);
    }, 5_000);
    expect(await jobsOf("hanging")).toMatchObject([{ state: "active" }]);
    await hanging.kill();
  });
});
