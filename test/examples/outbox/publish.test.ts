import { EventBus } from "@kernia/events";
import pg from "pg";
import { beforeAll, expect, test } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutboxDatabase, takeEvents } from "../../fixtures/outbox";
import { publish } from "./publish";

declare global {
  interface KerniaEvents {
    "test.invoice.paid": { readonly invoiceId: string; readonly lines: readonly string[] };
    "test.list": readonly string[];
  }
}

const defer = deferToEnd();
const event = "test.invoice.paid";
const paid = { invoiceId: "in_1 ü ☃", lines: ["a", "b"] };

let pool: pg.Pool;

beforeAll(async () => {
  ({ pool } = await createOutboxDatabase(defer));
});

test.each([
  ["commit", [[event, paid]]],
  ["rollback", []],
])("with the client of a transaction, an event comes with its %s or not", async (end, events) => {
  const client = await pool.connect();
  await client.query("begin");
  await publish(client, event, paid);
  await client.query(end);
  client.release();
  expect(await takeEvents(pool)).toEqual(events);
});

test("with a pool, what a handler publishes is in the outbox once it was emitted", async () => {
  const bus = new EventBus();
  bus.on(event, (payload) => publish(pool, event, payload));
  await bus.emit(event, paid);
  expect(await takeEvents(pool)).toEqual([[event, paid]]);
});

test("a failure is logged with the name of the event, and the other handlers run", async () => {
  const logged: unknown[][] = [];
  const bus = new EventBus({ error: (...args) => logged.push(args) });
  const ended = new pg.Pool();
  await ended.end();
  let others = 0;
  bus.on(event, (payload) => publish(ended, event, payload));
  bus.on(event, () => others++);
  await bus.emit(event, paid);
  expect(logged).toEqual([["Event handler failed:", event, expect.any(Error)]]);
  expect(others).toBe(1);
});

test("a payload that is a list arrives as a list", async () => {
  await publish(pool, "test.list", ["a", "b"]);
  expect(await takeEvents(pool)).toEqual([["test.list", ["a", "b"]]]);
});
