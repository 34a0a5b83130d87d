import { EventBus } from "@kernia/events";
import type pg from "pg";
import { beforeAll, expect, test } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutboxDatabase, takeEvents } from "../../fixtures/outbox";
import { publish } from "./publish";

declare global {
  interface KerniaEvents {
    "test.invoice.paid": { readonly invoiceId: string };
    "test.list": readonly string[];
  }
}

const defer = deferToEnd();
const paid = { invoiceId: "in_1 ü ☃" };

let pool: pg.Pool;

beforeAll(async () => {
  ({ pool } = await createOutboxDatabase(defer));
});

test.each([
  ["commit", [["test.invoice.paid", paid]]],
  ["rollback", []],
])("with the client of a transaction, an event comes with its %s or not", async (end, events) => {
  const client = await pool.connect();
  await client.query("begin");
  await publish(client, "test.invoice.paid", paid);
  await client.query(end);
  client.release();
  expect(await takeEvents(pool)).toEqual(events);
});

test("with a pool, what a handler publishes is in the outbox once it was emitted", async () => {
  const bus = new EventBus();
  bus.on("test.list", (payload) => publish(pool, "test.list", payload));
  await bus.emit("test.list", ["a", "b"]);
  expect(await takeEvents(pool)).toEqual([["test.list", ["a", "b"]]]);
});

test("an event that cannot be added rejects", async () => {
  const db = { query: (text: string) => pool.query(text.replace("event_outbox", "missing")) };
  await expect(publish(db, "test.list", [])).rejects.toMatchObject({ code: "42P01" });
});
