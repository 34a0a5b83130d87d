import {
  EventBus,
  type EventHandler,
  type EventName,
  type EventPayload,
  type Events,
  type Logger,
  type MemberEvent,
  type UserEvent,
} from "@kernia/events";
import { describe, expectTypeOf, test } from "vitest";

interface Invoice {
  readonly invoiceId: string;
  readonly amount: number;
}

declare global {
  interface KerniaEvents {
    "billing.invoice.paid": Invoice;
  }
}

const bus = new EventBus();
const member = { organizationId: "o", userId: "u", role: "member" };

describe("the standard payloads", () => {
  test("are readonly", () => {
    expectTypeOf<MemberEvent>().toEqualTypeOf<{
      readonly organizationId: string;
      readonly userId: string;
      readonly role: string;
      readonly action: "added" | "removed" | "updated";
    }>();
    expectTypeOf<MemberEvent<"added">["action"]>().toEqualTypeOf<"added">();
    // @ts-expect-error
    expectTypeOf<MemberEvent<"deleted">>().toBeObject();
    expectTypeOf<UserEvent>().toEqualTypeOf<{
      readonly userId: string;
      readonly action: "deleted";
    }>();

    const change = (event: MemberEvent, user: UserEvent) => {
      // @ts-expect-error
      event.role = "admin";
      // @ts-expect-error
      user.userId = "another";
    };
    expectTypeOf(change).toBeFunction();
  });

  test("belong to the standard events", () => {
    expectTypeOf<Events["organization.member.added"]>().toEqualTypeOf<MemberEvent<"added">>();
    expectTypeOf<Events["organization.member.removed"]>().toEqualTypeOf<MemberEvent<"removed">>();
    expectTypeOf<Events["organization.member.updated"]>().toEqualTypeOf<MemberEvent<"updated">>();
    expectTypeOf<Events["user.deleted"]>().toEqualTypeOf<UserEvent>();
  });
});

describe("a declared event", () => {
  test("is emitted with its own payload", () => {
    const emitted = bus.emit("organization.member.added", { ...member, action: "added" });
    expectTypeOf(emitted).toEqualTypeOf<Promise<void>>();
  });

  test("accepts no other action, no missing field, no wrong type, and no missing payload", () => {
    // @ts-expect-error
    void bus.emit("organization.member.added", { ...member, action: "removed" });
    // @ts-expect-error
    void bus.emit("user.deleted", { userId: "u" });
    // @ts-expect-error
    void bus.emit("user.deleted", { userId: 1, action: "deleted" });
    // @ts-expect-error
    void bus.emit("user.deleted");
  });

  test("gives its handlers the payload's type", () => {
    bus.on("organization.member.added", (payload) => {
      expectTypeOf(payload).toExtend<MemberEvent>();
      expectTypeOf(payload.action).toEqualTypeOf<"added">();
    });
  });

  test("takes a handler for plain MemberEvent", () => {
    const handler = (event: MemberEvent): void => void event;
    bus.on("organization.member.added", handler);
    bus.on("organization.member.removed", handler);
    bus.on("organization.member.updated", handler);
    bus.off("organization.member.updated", handler);
  });

  test("takes a handler that needs no payload, and one that returns anything", () => {
    bus.on("user.deleted", () => {});
    bus.on("user.deleted", ({ userId }) => userId);
  });

  test("takes no handler of another payload", () => {
    // @ts-expect-error
    bus.on("user.deleted", (event: MemberEvent) => event);
    // @ts-expect-error
    bus.on("organization.member.added", (event: { action: "removed" }) => event);
    // @ts-expect-error
    bus.off("user.deleted", (event: MemberEvent) => event);
  });
});

test("an event that a plugin declares in the global KerniaEvents is one of the events", () => {
  expectTypeOf<Events["billing.invoice.paid"]>().toEqualTypeOf<Invoice>();
  expectTypeOf<EventPayload<"billing.invoice.paid">>().toEqualTypeOf<Invoice>();
  void bus.emit("billing.invoice.paid", { invoiceId: "i", amount: 1 });
  // @ts-expect-error
  void bus.emit("billing.invoice.paid", { invoiceId: "i", amount: "1" });
  bus.on("billing.invoice.paid", (payload) => expectTypeOf(payload).toEqualTypeOf<Invoice>());
  // @ts-expect-error
  bus.on("billing.invoice.paid", (payload: UserEvent) => payload);
});

describe("an event that nobody declared", () => {
  test("is emitted with any payload", () => {
    void bus.emit("my.own", { any: "thing" });
    void bus.emit("my.own", 1);
    void bus.emit("my.own", undefined);
  });

  test("gives its handlers the type that they annotate, or unknown", () => {
    bus.on("my.own", (payload) => expectTypeOf(payload).toEqualTypeOf<unknown>());
    bus.on("my.own", async (invoice: Invoice) => invoice.amount);
    const handler = (invoice: Invoice): void => void invoice;
    bus.on("my.own", handler);
    bus.off("my.own", handler);
  });

  test("has a name that is a string", () => {
    // @ts-expect-error
    bus.on(1, () => {});
    // @ts-expect-error
    void bus.emit(Symbol("event"), undefined);
    // @ts-expect-error
    bus.off(undefined, () => {});
  });
});

test("on takes functions only, and returns a function that needs nothing", () => {
  expectTypeOf(bus.on("user.deleted", () => {})).toEqualTypeOf<() => void>();
  // @ts-expect-error
  bus.on("user.deleted", undefined);
  // @ts-expect-error
  bus.on("my.own", "handler");
});

describe("the type of a bus", () => {
  test("is met by whatever has its three methods", () => {
    const fake = {
      on: () => () => {},
      off: () => {},
      emit: async () => {},
    };
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

      override emit<Name extends EventName>(
        event: Name,
        payload: EventPayload<Name>,
      ): Promise<void> {
        return super.emit(event, payload);
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
  // @ts-expect-error
  new EventBus("console");
});
