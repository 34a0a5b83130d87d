import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import Stripe from "stripe";
import { prices } from "./plans";

export interface StripeItem {
  id: string;
  price: { id: string };
  quantity?: number;
}

export interface StripeSubscription {
  id: string;
  status: string;
  items: StripeItem[];
  customer?: string;
  metadata?: Record<string, string>;
  cancel_at_period_end?: boolean;
  cancellation_details?: { comment: string };
}

/** What the server does instead of answering: one of Stripe's errors, or no answer at all. */
export type StripeFault = 404 | 500 | "hang up" | "hang" | "lose the reply";

/** A request that waits at the server, before anything is done about it. */
export interface HeldRequest {
  readonly arrived: Promise<void>;
  release(): void;
}

export interface StripeEvent {
  readonly type: string;
  readonly data: { readonly object: object };
}

type Form = { [name: string]: string | Form };
type Reply = { status: number; body: object };
type Hold = { method: string; key: string; arrive(): void; released: Promise<void> };

export const webhookSecret = "whsec_loopback";
const secretKey = "sk_test_loopback";
const mostItems = 20;
const month = 30 * 24 * 60 * 60;

/**
 * A loopback HTTP server in the place of Stripe: form-encoded in, JSON out, errors in Stripe's shape,
 * signed webhooks. It answers what seat sync and Better Auth's Stripe plugin ask, by Stripe's rules.
 */
export class StripeServer {
  readonly subscriptions = new Map<string, StripeSubscription>();
  readonly updates: Record<string, string>[] = [];
  /** How often it was called since the start, or since this was set to 0. */
  calls = 0;
  fault: StripeFault | undefined;
  /** Where it posts its webhooks; there are none as long as this is not set. */
  webhookUrl: string | undefined;
  /** Keeps webhooks back while it is set, for `deliver`. */
  heldWebhooks: StripeEvent[] | undefined;
  readonly #sessions = new Map<string, Form>();
  readonly #customers = new Map<string, object>();
  readonly #replies = new Map<string, Reply>();
  readonly #holds: Hold[] = [];
  readonly #underWay = new Set<Promise<unknown>>();
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
  client(config?: Stripe.StripeConfig, key?: string): Stripe {
    return stripeClient(this.port, config, key);
  }

  addSubscription(subscription: StripeSubscription): void {
    this.subscriptions.set(subscription.id, subscription);
  }

  quantity(subscriptionId: string, priceId: string): number | undefined {
    const items = this.subscriptions.get(subscriptionId)?.items ?? [];
    return items.find(({ price }) => price.id === priceId)?.quantity;
  }

  /** Lets the next request of that kind, with that secret key, wait until it is released. */
  hold(method: "GET" | "POST", key = secretKey): HeldRequest {
    let [arrive, release] = [() => {}, () => {}];
    const arrived = new Promise<void>((resolve) => (arrive = resolve));
    const released = new Promise<void>((resolve) => (release = resolve));
    this.#holds.push({ method, key, arrive, released });
    return { arrived, release };
  }

  /** Pays what is in the cart of the checkout session; returns the subscription's id. */
  pay(sessionId: string): string {
    const session = this.#sessions.get(sessionId);
    if (!session) throw new Error(`No such checkout.session: ${sessionId}`);
    const { metadata } = session["subscription_data"] as Form;
    const subscription: StripeSubscription = {
      id: `sub_${randomUUID()}`,
      status: "active",
      items: [],
      customer: String(session["customer"]),
      metadata: metadata as Record<string, string>,
    };
    const problem = changeItems(subscription, session["line_items"] as Form);
    if (problem) throw new Error(problem);
    this.addSubscription(subscription);
    session["subscription"] = subscription.id;
    this.#tell("customer.subscription.created", toJson(subscription));
    this.#tell("checkout.session.completed", session);
    return subscription.id;
  }

  /** Changes a subscription as its dashboard, a schedule or a payment does, and tells of it. */
  change(id: string, change: Partial<StripeSubscription>): void {
    const subscription = this.subscriptions.get(id)!;
    Object.assign(subscription, change);
    this.#tell("customer.subscription.updated", toJson(subscription));
  }

  /** Posts a webhook, and throws unless it was taken. */
  async deliver(event: StripeEvent): Promise<void> {
    const payload = JSON.stringify({ id: `evt_${randomUUID()}`, object: "event", ...event });
    const signature = await this.client().webhooks.generateTestHeaderStringAsync({
      payload,
      secret: webhookSecret,
    });
    const headers = { "stripe-signature": signature, "content-type": "application/json" };
    const { status } = await fetch(this.webhookUrl!, { method: "POST", headers, body: payload });
    if (status !== 200) throw new Error(`The webhook ${event.type} was answered with ${status}`);
  }

  /** Waits until all webhooks are answered, and those that are sent on account of them. */
  async delivered(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  #tell(type: string, object: object): void {
    if (this.webhookUrl === undefined) return;
    const event = { type, data: { object: structuredClone(object) } };
    if (this.heldWebhooks) {
      this.heldWebhooks.push(event);
      return;
    }
    const delivery = this.deliver(event).finally(() => this.#underWay.delete(delivery));
    this.#underWay.add(delivery);
    // `delivered` tells of a failure.
    delivery.catch(() => {});
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.calls++;
    const method = request.method!;
    const body = await text(request);
    const key = String(request.headers.authorization).replace("Bearer ", "");
    const index = this.#holds.findIndex((hold) => hold.method === method && hold.key === key);
    const [hold] = index < 0 ? [] : this.#holds.splice(index, 1);
    hold?.arrive();
    await hold?.released;

    const { fault } = this;
    if (fault === "hang") return;
    if (fault === "hang up") {
      request.socket.destroy();
      return;
    }
    const idempotencyKey = request.headers["idempotency-key"] as string | undefined;
    const { status, body: answer } = this.#once(idempotencyKey, () => {
      if (fault === 500) return failed(500, { type: "api_error" });
      return this.#route(method, new URL(request.url!, "http://stripe"), body);
    });
    if (fault === "lose the reply") {
      request.socket.destroy();
      return;
    }
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
  }

  /** What is sent again with the same key is answered again with the same reply. */
  #once(key: string | undefined, reply: () => Reply): Reply {
    const replied = (key !== undefined && this.#replies.get(key)) || reply();
    if (key !== undefined) this.#replies.set(key, replied);
    return replied;
  }

  #route(method: string, { pathname, searchParams }: URL, body: string): Reply {
    const [, resource = "", id = ""] =
      /^\/v1\/([a-z_/]+?)(?:\/(\w+_[\w-]+))?$/.exec(pathname) ?? [];
    const flat = Object.fromEntries(new URLSearchParams(body));
    switch (`${method} ${resource}${id && "/:id"}`) {
      case "GET subscriptions/:id":
        return this.#found(id, (subscription) => ok(toJson(subscription)));
      case "POST subscriptions/:id":
        return this.#found(id, (subscription) => this.#update(subscription, flat));
      case "GET subscriptions": {
        const customer = searchParams.get("customer");
        const all = [...this.subscriptions.values()].filter((each) => each.customer === customer);
        return ok(list(all.map(toJson)));
      }
      case "GET subscription_items":
        return this.#found(searchParams.get("subscription") ?? "", ({ items }) =>
          ok(list(items.map(itemToJson))),
        );
      case "GET prices/:id": {
        const price = priceOf(id);
        return price ? ok(priceToJson(id)) : missing("price", id);
      }
      case "GET prices":
      case "GET customers/search":
        return ok(list([]));
      case "POST customers":
        return ok(this.#add(this.#customers, { id: `cus_${randomUUID()}`, ...parse(flat) }));
      case "GET customers/:id":
        return ok(this.#customers.get(id) ?? {});
      case "POST checkout/sessions":
        return ok(
          this.#add(this.#sessions, { id: `cs_${randomUUID()}`, url: "/", ...parse(flat) }),
        );
      case "GET checkout/sessions/:id":
        return ok(this.#sessions.get(id) ?? {});
      default:
        return failed(404, { message: `Unrecognized request URL (${method}: ${pathname})` });
    }
  }

  #add<Value extends { id: string }>(all: Map<string, object>, value: Value): Value {
    all.set(value.id, value);
    return value;
  }

  #found(id: string, reply: (subscription: StripeSubscription) => Reply): Reply {
    const subscription = this.subscriptions.get(id);
    return this.fault === 404 || !subscription ? missing("subscription", id) : reply(subscription);
  }

  #update(subscription: StripeSubscription, flat: Record<string, string>): Reply {
    this.updates.push(flat);
    const { items, cancel_at_period_end, cancellation_details } = parse(flat);
    const before = JSON.stringify(subscription);
    const changed = structuredClone(subscription);
    const { status } = changed;
    const problem = ["canceled", "incomplete", "incomplete_expired"].includes(status)
      ? `A subscription that is ${status} can only update its metadata`
      : items && changeItems(changed, items as Form);
    if (problem) return failed(400, { message: problem });
    if (cancel_at_period_end) changed.cancel_at_period_end = cancel_at_period_end === "true";
    if (cancellation_details) {
      changed.cancellation_details = cancellation_details as { comment: string };
    }
    this.addSubscription(changed);
    const json = toJson(changed);
    if (JSON.stringify(changed) !== before) this.#tell("customer.subscription.updated", json);
    return ok(json);
  }
}

/** Stripe's own SDK, pointed at the server on this loopback port. */
export function stripeClient(
  port: number,
  config?: Stripe.StripeConfig,
  key: string = secretKey,
): Stripe {
  return new Stripe(key, {
    host: "127.0.0.1",
    port,
    protocol: "http",
    maxNetworkRetries: 0,
    timeout: 5_000,
    telemetry: false,
    ...config,
  });
}

/** Changes all of the items or none, and returns what is wrong with the change, if anything. */
function changeItems(subscription: StripeSubscription, form: Form): string | undefined {
  for (const change of Object.values(form) as Record<string, string>[]) {
    const problem = changeItem(subscription, change);
    if (problem) return problem;
  }
  const { items } = subscription;
  const kinds = items.map(({ price }) => priceToJson(price.id));
  if (items.length === 0) return "A subscription must have at least one active plan";
  if (items.length > mostItems) return `Subscriptions can have up to ${mostItems} items`;
  if (new Set(items.map(({ price }) => price.id)).size < items.length) {
    return "Cannot add multiple subscription items with the same plan";
  }
  if (new Set(kinds.map(({ currency }) => currency)).size > 1) {
    return "All prices on a subscription must have the same currency";
  }
  if (new Set(kinds.map(({ recurring }) => recurring.interval)).size > 1) {
    return "All prices on a subscription must have the same interval";
  }
  return undefined;
}

function changeItem(subscription: StripeSubscription, change: Record<string, string>) {
  const { id, price, deleted } = change;
  if (id === undefined && price === undefined) return "Missing required param: items[0][price]";
  if (price !== undefined && !priceOf(price)) return `No such price: '${price}'`;
  const item = id
    ? subscription.items.find((item) => item.id === id)
    : { id: `si_${randomUUID()}`, price: { id: price! }, quantity: 1 };
  if (!item) return `No such subscription item: '${id}'`;
  if (deleted === "true") {
    subscription.items = subscription.items.filter((other) => other !== item);
    return undefined;
  }
  if (!id) subscription.items.push(item);
  if (price !== undefined) item.price = { id: price };
  const { metered } = priceOf(item.price.id)!;
  if (metered) delete item.quantity;
  if (change["quantity"] === undefined) return undefined;
  if (metered) return "You cannot set the quantity parameter on metered usage plans";
  const quantity = Number(change["quantity"]);
  if (!Number.isInteger(quantity) || quantity < 0) return "Invalid integer: quantity";
  item.quantity = quantity;
  return undefined;
}

const priceOf = (id: string) => prices.find((price) => price.id === id);

function priceToJson(id: string) {
  const { currency = "usd", interval = "month", metered, lookupKey = null } = priceOf(id)!;
  const recurring = { interval, usage_type: metered ? "metered" : "licensed" };
  return { id, object: "price", currency, lookup_key: lookupKey, recurring };
}

function itemToJson({ price, ...item }: StripeItem) {
  return {
    object: "subscription_item",
    ...item,
    price: priceToJson(price.id),
    current_period_start: 0,
    current_period_end: Math.floor(Date.now() / 1_000) + month,
  };
}

function toJson({ items, ...subscription }: StripeSubscription) {
  const shown = items.slice(0, 10);
  return {
    object: "subscription",
    customer: null,
    metadata: {},
    cancel_at: null,
    cancel_at_period_end: false,
    canceled_at: null,
    ended_at: null,
    cancellation_details: null,
    schedule: null,
    trial_start: null,
    trial_end: null,
    ...subscription,
    items: { ...list(shown.map(itemToJson)), has_more: shown.length < items.length },
  };
}

const ok = (body: object): Reply => ({ status: 200, body });
const list = (data: object[]) => ({ object: "list", data, has_more: false });
const failed = (status: number, error: object): Reply => ({
  status,
  body: { error: { type: "invalid_request_error", ...error } },
});
const missing = (what: string, id: string): Reply =>
  failed(404, { code: "resource_missing", message: `No such ${what}: '${id}'`, param: "id" });

/** Makes `items[0][id]=si_1` an object of objects. */
function parse(flat: Record<string, string>): Form {
  const form: Form = {};
  for (const [name, value] of Object.entries(flat)) {
    const path = name.split(/\]?\[|\]/).filter((part) => part !== "");
    const last = path.pop()!;
    const parent = path.reduce((parent, part) => (parent[part] ??= {}) as Form, form);
    parent[last] = value;
  }
  return form;
}
