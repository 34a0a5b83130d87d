import type { ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { serve } from "../../fixtures/loopback";
import { createWebhook, type WebhookJob, type WebhookOptions } from "./webhook";
import type { Queues } from "./worker";

const secret = `whsec_${Buffer.alloc(24, "one").toString("base64")}`;
const otherSecret = `whsec_${Buffer.alloc(64, "two").toString("base64")}`;
const timestamp = "2026-01-02T03:04:05.678Z";
const job: WebhookJob = {
  id: "0b6bd8e9-3c3f-4d0c-9b1e-1d5d3f0a2f11",
  event: "user.deleted",
  createdAt: new Date(timestamp),
};
const payload = { userId: "Ådä \"'\n", action: "deleted" } as const;

type Received = { readonly headers: Record<string, string>; readonly body: string };

let receiver: Awaited<ReturnType<typeof serve>>;
let received: Received[];
/** How the receiver answers. */
let answer: (response: ServerResponse) => unknown;
const answerWith = (status: number) => (response: ServerResponse) =>
  response.writeHead(status).end();

beforeEach(async () => {
  received = [];
  receiver = await serve(async (request, response) => {
    const headers = request.headers as Record<string, string>;
    received.push({ headers, body: await text(request) });
    answer(response);
  });
});

afterEach(async () => {
  vi.restoreAllMocks();
  await receiver.close();
});

/** As a worker calls it. */
function post(options: Partial<WebhookOptions> = {}): Promise<void> {
  const url = `${receiver.url}/hooks?token=hidden`;
  const webhook = createWebhook({ url, secrets: [secret], ...options });
  const { hooks } = { hooks: { "user.deleted": webhook } } satisfies Queues;
  return hooks["user.deleted"](payload, job);
}

test("posts the event and its id, signed with each secret while one is being replaced", async () => {
  answer = answerWith(204);
  await post({ secrets: [otherSecret, secret] });
  const [{ headers, body }] = received as [Received];
  for (const each of [secret, otherSecret]) {
    const verified = new Webhook(each).verify(body, headers);
    expect(verified).toEqual({ type: "user.deleted", timestamp, data: payload });
  }
  expect(headers).toMatchObject({ "webhook-id": job.id, "content-type": "application/json" });
});

test("succeeds after an answer of 2xx, also if its body never ends", async () => {
  const closed = new Promise((resolve) => {
    answer = (response) => {
      response.on("close", resolve);
      response.writeHead(299).write("x");
    };
  });
  await post();
  await closed;
  // Sooner than its time is up, which would close the connection too.
}, 5_000);

describe("a failure names the origin but not the rest of the URL", () => {
  const failure = (how: string) => new Error(`The webhook at ${receiver.url} ${how}`);

  test.each([307, 404])(
    "it fails after an answer of %i, which it does not follow",
    async (status) => {
      answer = (response) => response.writeHead(status, { location: receiver.url }).end();
      await expect(post()).rejects.toThrow(failure(`answered ${status}`));
      expect(received).toHaveLength(1);
    },
  );

  test("it fails after a refused connection, which it gives as the cause", async () => {
    const { url } = receiver;
    await receiver.close();
    const cause = { cause: { code: "ECONNREFUSED" } };
    const { message } = failure("did not answer");
    await expect(post({ url })).rejects.toMatchObject({ message, cause });
  });

  test("it fails after 15 seconds without an answer", async () => {
    const { timeout } = AbortSignal;
    const limit = vi.spyOn(AbortSignal, "timeout").mockImplementation(() => timeout(50));
    answer = () => {};
    await expect(post()).rejects.toThrow(failure("did not answer"));
    expect(limit).toHaveBeenCalledExactlyOnceWith(15_000);
  });
});

describe("an answer of 410", () => {
  beforeEach(() => void (answer = answerWith(410)));

  test("an answer of 410 succeeds, and is logged", async () => {
    const log = vi.spyOn(console, "error").mockImplementation(() => {});
    await post();
    expect(log).toHaveBeenCalledExactlyOnceWith(
      `The webhook at ${receiver.url} is gone and did not receive user.deleted ${job.id}`,
    );
  });

  test("an answer of 410 calls onGone instead, and fails if that fails", async () => {
    const onGone = vi.fn(() => Promise.reject(new Error("could not write it down")));
    await expect(post({ onGone })).rejects.toThrow("could not write it down");
    expect(onGone).toHaveBeenCalledExactlyOnceWith(job);
  });
});

const unusableSecret = "secret 2 of a webhook must be whsec_ and 24 to 64 bytes in base64";

test.each<[string, Partial<WebhookOptions>, string]>([
  ["a URL of another scheme", { url: "file:///etc" }, "must begin with https:// or http://"],
  ["a password", { url: "https://ada:hidden@example.com" }, "may not have a user or a password"],
  ["no secret", { secrets: [] }, "a webhook needs at least one secret"],
  ["a secret that is not base64", { secrets: [secret, `${secret}!`] }, unusableSecret],
  ["a secret of 23 bytes", { secrets: [secret, `whsec_${"A".repeat(31)}=`] }, unusableSecret],
])("%s is an error", (_, options, message) => {
  const create = () => createWebhook({ url: "https://example.com", secrets: [secret], ...options });
  expect(create).toThrow(TypeError);
  expect(create).toThrow(message);
});
