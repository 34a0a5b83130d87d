import { EventBus, type Events, type MemberEvent } from "@kernia/events";
import { expectTypeOf, test } from "vitest";
import type pg from "pg";
import { publish, type PublishableEvent } from "../examples/outbox/publish";

declare global {
  interface KerniaEvents {
    "test.json": { readonly text: string; readonly list: readonly number[] };
    "test.date": { readonly at: Date };
    "test.map": { readonly all: Map<string, string> };
    "test.bigint": { readonly amount: bigint };
  }
}
declare const pool: pg.Pool;
declare const client: pg.PoolClient;
const bus = new EventBus();

test("events whose payload is JSON can be published, with a pool or a transaction's client", () => {
  expectTypeOf<"organization.member.added">().toExtend<PublishableEvent>();
  expectTypeOf<"user.deleted">().toExtend<PublishableEvent>();
  expectTypeOf<Events["organization.member.added"]>().toExtend<MemberEvent>();
  bus.on("test.json", (event) => publish(pool, "test.json", event));
  void publish(client, "test.json", { text: "", list: [] });
});

test("an event whose payload JSON would change cannot", () => {
  // @ts-expect-error
  bus.on("test.date", (event) => publish(pool, "test.date", event));
  // @ts-expect-error
  bus.on("test.map", (event) => publish(pool, "test.map", event));
  // @ts-expect-error
  bus.on("test.bigint", (event) => publish(pool, "test.bigint", event));
});
