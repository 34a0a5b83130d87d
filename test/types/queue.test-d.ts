import { EventBus, type Events, type MemberEvent } from "@kernia/events";
import { expectTypeOf, test } from "vitest";
import type PgBoss from "pg-boss";
import { publish, type ForwardableEvent } from "../examples/queue/queue";

declare module "@kernia/events" {
  interface Events {
    "test.json": { readonly text: string; readonly list: readonly number[] };
    "test.date": { readonly at: Date };
    "test.map": { readonly all: Map<string, string> };
    "test.bigint": { readonly amount: bigint };
  }
}
declare const boss: PgBoss;
const bus = new EventBus();

test("the standard events, and others whose payload is JSON, can be forwarded", () => {
  expectTypeOf<"organization.member.added">().toExtend<ForwardableEvent>();
  expectTypeOf<"user.deleted">().toExtend<ForwardableEvent>();
  expectTypeOf<Events["organization.member.added"]>().toExtend<MemberEvent>();
  bus.on("test.json", (event) => publish(boss, "test.json", event));
});

test("an event whose payload JSON would change cannot", () => {
  // @ts-expect-error
  bus.on("test.date", (event) => publish(boss, "test.date", event));
  // @ts-expect-error
  bus.on("test.map", (event) => publish(boss, "test.map", event));
  // @ts-expect-error
  bus.on("test.bigint", (event) => publish(boss, "test.bigint", event));
});
