import {
  EventBus,
  getBus,
  type AuthContext,
  type EventHandler,
  type EventName,
  type EventPayload,
  type Events,
  type Logger,
  type MemberEvent,
  type UserEvent,
} from "@kernia/events";
import { describe, expectTypeOf, test } from "vitest";
import type { PublishableEvent } from "../examples/outbox/publish";
import type { DeclaredBus } from "../examples/recipes/declared-names";

interface Invoice {
  readonly invoiceId: string;
  readonly amount: number;
}

declare global {
  interface KerniaEvents {
    "billing.invoice.paid": Invoice;
    "test.date": { readonly at: Date };
  }
}

const bus = new EventBus();
const member = { organizationId: "o", userId: "u", role: "member" };

test("the standard payloads are readonly", () => {
  expectTypeOf<MemberEvent>().toEqualTypeOf<{
    readonly organizationId: string;
    readonly userId: string;
    readonly role: string;
    readonly action: "added" | "removed" | "updated";
  }>();
  expectTypeOf<UserEvent>().toEqualTypeOf<{
    readonly userId: string;
    readonly action: "deleted";
  }>();
  expectTypeOf<Events["organization.member.added"]>().toEqualTypeOf<MemberEvent<"added">>();
  expectTypeOf<Events["organization.member.removed"]>().toEqualTypeOf<MemberEvent<"removed">>();
  expectTypeOf<Events["organization.member.updated"]>().toEqualTypeOf<MemberEvent<"updated">>();
  expectTypeOf<Events["user.deleted"]>().toEqualTypeOf<UserEvent>();
});

describe("a declared event", () => {
  test("is emitted with its own payload, and with no other", () => {
    const emitted = bus.emit("organization.member.added", { ...member, action: "added" });
    expectTypeOf(emitted).toEqualTypeOf<Promise<void>>();
    void bus.emit("billing.invoice.paid", { invoiceId: "i", amount: 1 });
    // @ts-expect-error
    void bus.emit("organization.member.added", { ...member, action: "removed" });
    // @ts-expect-error
    void bus.emit("user.deleted", { userId: "u" });
    // @ts-expect-error
    void bus.emit("billing.invoice.paid", { invoiceId: "i", amount: "1" });
    // @ts-expect-error
    void bus.emit("user.deleted");
  });

  test("gives its handlers the payload's type", () => {
    bus.on("organization.member.added", ({ action }) => {
      expectTypeOf(action).toEqualTypeOf<"added">();
    });
    bus.on("billing.invoice.paid", (payload) => expectTypeOf(payload).toEqualTypeOf<Invoice>());
  });

  test("takes a handler for plain MemberEvent, and one that needs no payload", () => {
    const handler = (event: MemberEvent): void => void event;
    bus.on("organization.member.added", handler);
    bus.on("organization.member.removed", handler);
    bus.on("organization.member.updated", handler);
    bus.off("organization.member.updated", handler);
    bus.on("user.deleted", () => "anything");
  });

  test("takes no handler of another payload", () => {
    // @ts-expect-error
    bus.on("billing.invoice.paid", (event: UserEvent) => event);
    // @ts-expect-error
    bus.on("organization.member.added", (event: { action: "removed" }) => event);
    // @ts-expect-error
    bus.off("user.deleted", (event: MemberEvent) => event);
    // @ts-expect-error
    bus.on("user.deleted", undefined);
  });
});

describe("an event that nobody declared", () => {
  test("is emitted with any payload, under a name that is a string", () => {
    void bus.emit("my.own", { any: "thing" });
    void bus.emit("my.own", undefined);
    // @ts-expect-error
    void bus.emit(Symbol("event"), undefined);
    // @ts-expect-error
    bus.on(1, () => {});
  });

  test("gives its handlers the type that they annotate, or unknown", () => {
    bus.on("my.own", (payload) => expectTypeOf(payload).toEqualTypeOf<unknown>());
    const handler = async (invoice: Invoice) => invoice.amount;
    expectTypeOf(bus.on("my.own", handler)).toEqualTypeOf<() => void>();
    bus.off("my.own", handler);
  });
});

describe("the type of a bus", () => {
  test("is met by whatever has its three methods", () => {
    const fake = { on: () => () => {}, off: () => {}, emit: async () => {} };
    expectTypeOf(fake).toExtend<EventBus>();
  });

  test("can be extended", () => {
    class LoudBus extends EventBus {
      override on<Name extends EventName, Undeclared = unknown>(
        event: Name,
        handler: EventHandler<EventPayload<Name, Undeclared>>,
      ): () => void {
        return super.on(event, handler);
      }
    }
    expectTypeOf(new LoudBus()).toExtend<EventBus>();
  });
});

test("a logger needs error, and nothing else", () => {
  new EventBus({ error: async (message: string, ...details: unknown[]) => [message, details] });
  expectTypeOf<{ error(message: unknown, data: object): void }>().toExtend<Logger>();
  // @ts-expect-error
  new EventBus({ warn() {} });
});

test("the outbox publishes events whose payload is JSON, and no other", () => {
  expectTypeOf<"organization.member.added" | "billing.invoice.paid">().toExtend<PublishableEvent>();
  expectTypeOf<"test.date">().not.toExtend<PublishableEvent>();
});

test("a DeclaredBus takes declared names and their payloads only, and any bus is one", () => {
  const declared: DeclaredBus = bus;
  declared.on("test.date", ({ at }) => at.getTime());
  // @ts-expect-error
  declared.on("test.dates", () => {});
  // @ts-expect-error
  void declared.emit("test.dates", { at: new Date() });
  // @ts-expect-error
  void declared.emit("test.date", { at: "today" });
});

interface KerniaContext {
  options: { baseURL: string };
  pluginState: Record<string, any>;
  logger: { error: (message: string, ...args: any[]) => void; level: string };
}
interface OwnState {
  billing: { plans: number };
  events?: EventBus;
}
declare const kernia: KerniaContext;
declare const own: { readonly pluginState?: OwnState };
declare const auth: { $context: Promise<AuthContext>; handler: () => void };

test("getBus accepts a fake context, Kernia's, and one with a pluginState of its own type", () => {
  expectTypeOf(getBus({ pluginState: {} })).toEqualTypeOf<EventBus>();
  getBus({});
  getBus({ pluginState: undefined, logger: undefined });
  getBus({ pluginState: { events: new EventBus() }, logger: { error() {} } });
  getBus(kernia);
  getBus(own);
});

test("getBus rejects what is not a context, and one that was not awaited", () => {
  // @ts-expect-error
  getBus("auth");
  // @ts-expect-error
  getBus({ pluginState: "state" });
  // @ts-expect-error
  getBus({ pluginState: {}, logger: {} });
  // @ts-expect-error
  getBus(auth);
  // @ts-expect-error
  getBus(auth.$context);
});
