import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { PgBoss } from "pg-boss";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { Deferred } from "../../fixtures/deferred";
import { createOutboxDatabase, createQuickQueue, untilAllDone } from "../../fixtures/outbox";
import { createWebhook, type WebhookJob, type WebhookOptions } from "./webhook";
import { startWorker } from "./worker";

const defer = deferToEnd();

const secret = `whsec_${Buffer.alloc(24, "one").toString("base64")}`;
const otherSecret = `whsec_${Buffer.alloc(64, "two").toString("base64")}`;
const timestamp = "2026-01-02T03:04:05.678Z";
const job: WebhookJob = {
  id: "0b6bd8e9-3c3f-4d0c-9b1e-1d5d3f0a2f11",
  event: "user.deleted",
  createdAt: new Date(timestamp),
};
const payload = { userId: "Ådä \"'\n", action: "deleted" };

type Received = { readonly headers: Record<string, string>; readonly body: string };

let deferred: Deferred;
let receiver: Awaited<ReturnType<typeof startReceiver>>;

beforeEach(async () => {
  deferred = new Deferred();
  receiver = await startReceiver();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await deferred.run();
});

/** A real server, which answers with 204 by default. */
async function startReceiver() {
  const received: Received[] = [];
  const state = { answer: (response: ServerResponse): unknown => response.writeHead(204).end() };
  const server = createServer(async (request, response) => {
    const headers = request.headers as Record<string, string>;
    received.push({ headers, body: await text(request) });
    state.answer(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  deferred.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    received,
    origin,
    url: `${origin}/hooks?token=hidden`,
    /** How the next requests are answered. */
    answer: (answer: (response: ServerResponse) => unknown) => void (state.answer = answer),
    status: (status: number, headers = {}) =>
      void (state.answer = (response) => response.writeHead(status, headers).end()),
  };
}

function post(options: Partial<WebhookOptions> = {}): Promise<void> {
  return createWebhook({ url: receiver.url, secrets: [secret], ...options })(payload, job);
}

const verify = (secret: string, { body, headers }: Received) =>
  new Webhook(secret).verify(body, headers);

describe("the request", () => {
  test("has the event, its id and a signature as Standard Webhooks says", async () => {
    await post();
    const [request] = receiver.received as [Received];
    expect(verify(secret, request)).toEqual({ type: "user.deleted", timestamp, data: payload });
    expect(request.headers).toMatchObject({
      "webhook-id": job.id,
      "content-type": "application/json",
    });
    expect(() => verify(otherSecret, request)).toThrow("No matching signature");
  });

  test("is signed with each secret while one is being replaced", async () => {
    await post({ secrets: [otherSecret, secret] });
    const [request] = receiver.received as [Received];
    expect(verify(secret, request)).toEqual(verify(otherSecret, request));
  });
});

describe("succeeds after", () => {
  test.each([200, 204, 299])("an answer of %i", async (status) => {
    receiver.status(status);
    await post();
    expect(receiver.received).toHaveLength(1);
  });

  test("a good answer whose body never ends", async () => {
    const closed = new Promise((resolve) => {
      receiver.answer((response) => {
        response.on("close", resolve);
        response.writeHead(200).write("x");
      });
    });
    await post();
    await closed;
  });
});

describe("fails, and names the origin but not the rest of the URL, after", () => {
  const failure = (how: string) => new Error(`The webhook at ${receiver.origin} ${how}`);

  test.each([304, 400, 429, 500])("an answer of %i", async (status) => {
    receiver.status(status);
    await expect(post()).rejects.toThrow(failure(`answered ${status}`));
  });

  test("a redirect, which it does not follow", async () => {
    const target = await startReceiver();
    receiver.status(307, { location: target.url });
    await expect(post()).rejects.toThrow(failure("answered 307"));
    expect(target.received).toEqual([]);
  });

  test("15 seconds without an answer", async () => {
    const { timeout } = AbortSignal;
    const limit = vi.spyOn(AbortSignal, "timeout").mockImplementation(() => timeout(50));
    receiver.answer(() => {});
    await expect(post()).rejects.toThrow(failure("did not answer"));
    expect(limit).toHaveBeenCalledExactlyOnceWith(15_000);
  });
});

describe("an answer of 410", () => {
  beforeEach(() => receiver.status(410));

  test("succeeds, and calls onGone", async () => {
    const onGone = vi.fn();
    await post({ onGone });
    expect(onGone).toHaveBeenCalledExactlyOnceWith(job);
  });

  test("is logged without onGone", async () => {
    const log = vi.spyOn(console, "error").mockImplementation(() => {});
    await post();
    expect(log).toHaveBeenCalledExactlyOnceWith(
      `The webhook at ${receiver.origin} is gone and did not receive user.deleted ${job.id}`,
    );
  });

  test("is a failure if onGone fails", async () => {
    const onGone = () => Promise.reject(new Error("could not write it down"));
    await expect(post({ onGone })).rejects.toThrow("could not write it down");
  });
});

test.each<[string, Partial<WebhookOptions>, string]>([
  ["a URL of another scheme", { url: "file:///etc" }, "must begin with https:// or http://"],
  ["a password", { url: "https://ada:hidden@example.com" }, "may not have a user or a password"],
  ["no secret", { secrets: [] }, "a webhook needs at least one secret"],
  ...["", "whsec_", `${secret.slice(0, -1)}!`, `whsec_${Buffer.alloc(23).toString("base64")}`].map(
    (malformed): [string, Partial<WebhookOptions>, string] => [
      `the secret ${JSON.stringify(malformed)}`,
      { secrets: [secret, malformed] },
      "secret 2 of a webhook must be whsec_ and 24 to 64 bytes in base64",
    ],
  ),
])("%s is an error", (_, options, message) => {
  const create = () => createWebhook({ url: "https://example.com", secrets: [secret], ...options });
  expect(create).toThrow(TypeError);
  expect(create).toThrow(message);
});

test("a worker posts a change with its time, and the same id when it retries", async () => {
  const { databaseUrl, pool } = await createOutboxDatabase(defer);
  const boss = new PgBoss(databaseUrl);
  await boss.start();
  await createQuickQueue(boss, "hooks");
  await boss.stop();
  receiver.answer((response) => {
    receiver.status(204);
    response.writeHead(500).end();
  });
  const webhook = createWebhook({ url: receiver.url, secrets: [secret] });
  const queues = { hooks: { "user.deleted": webhook } };
  const { stop } = await startWorker({ databaseUrl, queues, logger: { error: () => {} } });
  deferred.defer(stop);
  await pool.query(
    "insert into event_outbox (event, payload, created_at) values ('user.deleted', $1, $2)",
    [payload, job.createdAt],
  );
  await untilAllDone(pool);

  const [first, second] = receiver.received as [Received, Received];
  expect(verify(secret, second)).toEqual({ type: "user.deleted", timestamp, data: payload });
  expect(second.headers["webhook-id"]).toBe(first.headers["webhook-id"]);
});
