// @kernia/events 1.0.0: copied from its test/examples/outbox/webhook.ts
// Needs no Better Auth, but Node 20 or newer, and the npm package `standardwebhooks`, version 1.

import { Webhook } from "standardwebhooks";

export interface WebhookOptions {
  /** The http or https URL to post to. */
  url: string;
  /** Each as `whsec_` and 24 to 64 bytes in base64. While one is being replaced, the old and the new. */
  secrets: readonly string[];
  /** Is called when the answer is 410 (Gone), which ends the job. By default it is logged. */
  onGone?: (job: WebhookJob) => unknown;
}

/** What the worker passes to a handler beside the payload. */
export interface WebhookJob {
  readonly id: string;
  readonly event: string;
  readonly createdAt: Date;
}

const timeoutMilliseconds = 15_000;

/**
 * Returns a handler that posts its events to a URL, as https://www.standardwebhooks.com says. Give each
 * URL a queue of its own, so that one that is down holds up no other. A retry has the same
 * `webhook-id`, by which the receiver recognizes it.
 *
 * Every answer except 2xx and 410 is a failure, redirects too, and so is no answer within 15 seconds.
 *
 * It does not check where the URL leads. A URL that users enter can lead into your own network: allow
 * only public addresses, best in a proxy, for a name may resolve differently the next time.
 *
 * @throws TypeError if the URL or a secret cannot be used.
 */
export function createWebhook({ url, secrets, onGone }: WebhookOptions) {
  const origin = originOf(url);
  const signers = secrets.map(createSigner);
  if (signers.length === 0) throw new TypeError("a webhook needs at least one secret");

  return async (payload: unknown, job: WebhookJob): Promise<void> => {
    const { id, event: type, createdAt: timestamp } = job;
    const body = JSON.stringify({ type, timestamp, data: payload });
    const now = new Date();
    const response = await fetch(url, {
      method: "POST",
      body,
      headers: {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": String(Math.floor(now.getTime() / 1_000)),
        "webhook-signature": signers.map((signer) => signer.sign(id, now, body)).join(" "),
      },
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutMilliseconds),
    }).catch((cause: unknown) => {
      throw new Error(`The webhook at ${origin} did not answer`, { cause });
    });
    // The body does not matter, and may never end.
    response.body?.cancel().catch(() => {});
    if (response.status === 410) {
      if (onGone) await onGone(job);
      else console.error(`The webhook at ${origin} is gone and did not receive ${type} ${id}`);
    } else if (!response.ok) {
      throw new Error(`The webhook at ${origin} answered ${response.status}`);
    }
  };
}

function originOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^https?:$/.test(parsed.protocol)) {
    throw new TypeError("the URL of a webhook must begin with https:// or http://");
  }
  if (parsed.username || parsed.password) {
    throw new TypeError("the URL of a webhook may not have a user or a password in it");
  }
  return parsed.origin;
}

function createSigner(secret: string, index: number): Webhook {
  const base64 = /^(?:whsec_)?([\w+/=]+)$/.exec(secret)?.[1] ?? "";
  const bytes = Buffer.from(base64, "base64").length;
  try {
    if (bytes >= 24 && bytes <= 64) return new Webhook(secret);
  } catch {
    // Its own message does not say which.
  }
  throw new TypeError(
    `secret ${index + 1} of a webhook must be whsec_ and 24 to 64 bytes in base64`,
  );
}
