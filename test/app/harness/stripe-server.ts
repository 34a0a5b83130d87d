import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import Stripe from "stripe";

export interface StripeItem {
  id: string;
  price: { id: string };
  quantity: number;
}

export interface StripeSubscription {
  id: string;
  status: string;
  items: StripeItem[];
}

/** What the server does instead of answering: one of Stripe's errors, or no answer at all. */
export type StripeFault = 404 | 500 | "hang up" | "hang";

/**
 * A loopback HTTP server that answers the two subscription calls, retrieve and update, as Stripe
 * does: form-encoded in, JSON out, errors in Stripe's shape.
 */
export class StripeServer {
  readonly subscriptions = new Map<string, StripeSubscription>();
  readonly updates: Record<string, string>[] = [];
  /** How often it was called since the start, or since this was set to 0. */
  calls = 0;
  fault: StripeFault | undefined;
  readonly #server = createServer((request, response) => void this.#answer(request, response));

  async start(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  /** Stripe's own SDK, pointed at this server. */
  client(): Stripe {
    return stripeClient(this.port);
  }

  addSubscription(subscription: StripeSubscription): void {
    this.subscriptions.set(subscription.id, subscription);
  }

  quantity(subscriptionId: string, priceId: string): number | undefined {
    const items = this.subscriptions.get(subscriptionId)?.items ?? [];
    return items.find(({ price }) => price.id === priceId)?.quantity;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.calls++;
    const form = Object.fromEntries(new URLSearchParams(await text(request)));
    if (this.fault === "hang") return;
    if (this.fault === "hang up") {
      request.socket.destroy();
      return;
    }
    if (this.fault === 500) return sendError(response, 500, { type: "api_error" });

    const id = /^\/v1\/subscriptions\/([^/?]+)/.exec(request.url ?? "")?.[1] ?? "";
    const subscription = this.subscriptions.get(id);
    if (this.fault === 404 || !subscription) {
      return sendError(response, 404, {
        type: "invalid_request_error",
        code: "resource_missing",
        message: `No such subscription: '${id}'`,
        param: "id",
      });
    }
    if (request.method === "POST") {
      this.updates.push(form);
      const problem = update(subscription, form);
      if (problem) {
        return sendError(response, 400, { type: "invalid_request_error", message: problem });
      }
    }
    send(response, 200, toJson(subscription));
  }
}

/** Stripe's own SDK, pointed at the server on this loopback port. */
export function stripeClient(port: number): Stripe {
  return new Stripe("sk_test_loopback", {
    host: "127.0.0.1",
    port,
    protocol: "http",
    maxNetworkRetries: 0,
    timeout: 5_000,
    telemetry: false,
  });
}

/** Returns what is wrong with the form, if anything. */
function update(subscription: StripeSubscription, form: Record<string, string>) {
  const { "items[0][id]": id, "items[0][price]": price } = form;
  const quantity = Number(form["items[0][quantity]"]);
  if (!Number.isInteger(quantity) || quantity < 0) return "Invalid integer: quantity";
  if (id !== undefined) {
    const item = subscription.items.find((item) => item.id === id);
    if (!item) return `No such subscription item: '${id}'`;
    item.quantity = quantity;
  } else if (price !== undefined) {
    if (subscription.items.some((item) => item.price.id === price)) {
      return `Cannot add multiple subscription items with the same price: ${price}`;
    }
    const id = `si_${subscription.items.length + 1}`;
    subscription.items.push({ id, price: { id: price }, quantity });
  }
  return undefined;
}

function toJson({ id, status, items }: StripeSubscription): object {
  return {
    id,
    object: "subscription",
    status,
    items: {
      object: "list",
      data: items.map((item) => ({ object: "subscription_item", ...item })),
      has_more: false,
      url: `/v1/subscription_items?subscription=${id}`,
    },
  };
}

function sendError(response: ServerResponse, status: number, error: object): void {
  send(response, status, { error });
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
