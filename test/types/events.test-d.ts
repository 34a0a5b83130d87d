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

declare module "@kernia/events" {
  interface Events {
    "billing.invoice.voided": Invoice;
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
    expectTypeOf<Events["organization.member.added"]>().toExtend<MemberEvent>();
    expectTypeOf<Events["organization.member.removed"]>().toExtend<MemberEvent>();
    expectTypeOf<Events["organization.member.updated"]>().toExtend<MemberEvent>();
    expectTypeOf<Events["organization.member.added"]["action"]>().toEqualTypeOf<"added">();
    expectTypeOf<Events["organization.member.removed"]["action"]>().toEqualTypeOf<"removed">();
    expectTypeOf<Events["organization.member.updated"]["action"]>().toEqualTypeOf<"updated">();
    expectTypeOf<Events["organization.member.added"]>().toEqualTypeOf<MemberEvent<"added">>();
    expectTypeOf<Events["user.deleted"]>().toEqualTypeOf<UserEvent>();
  });
});

describe("a declared event", () => {
  test("is emitted with its own payload", () => {
    expectTypeOf(bus.emit("user.deleted", { userId: "u", action: "deleted" })).toEqualTypeOf<
      Promise<void>
    >();
    void bus.emit("organization.member.added", { ...member, action: "added" });
    void bus.emit("organization.member.removed", { ...member, action: "removed" });
    void bus.emit("organization.member.updated", { ...member, action: "updated" });
  });

  test("accepts no other action, no missing field, no wrong type, and no missing payload", () => {
    // @ts-expect-error
    void bus.emit("organization.member.added", { ...member, action: "removed" });
    // @ts-expect-error
    void bus.emit("organization.member.removed", { ...member, action: "updated" });
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
    bus.on("user.deleted", async (payload) => {
      expectTypeOf(payload).toEqualTypeOf<UserEvent>();
    });
  });

  test("takes a handler for plain MemberEvent", () => {
    const handler = (event: MemberEvent): void => void event;
    bus.on("organization.member.added", handler);
    bus.on("organization.member.removed", handler);
    bus.on("organization.member.updated", handler);
    bus.off("organization.member.updated", handler);
    for (const name of ["organization.member.added", "organization.member.removed"] as const) {
      bus.on(name, handler);
    }
  });

  test("takes a handler that needs no payload, and one that returns anything", () => {
    bus.on("user.deleted", () => {});
    bus.on("user.deleted", async () => 42);
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

describe("an event that a plugin declares in the global KerniaEvents", () => {
  test("is one of the events", () => {
    expectTypeOf<Events["billing.invoice.paid"]>().toEqualTypeOf<Invoice>();
    expectTypeOf<EventPayload<"billing.invoice.paid">>().toEqualTypeOf<Invoice>();
  });

  test("is checked where it is emitted", () => {
    void bus.emit("billing.invoice.paid", { invoiceId: "i", amount: 1 });
    // @ts-expect-error
    void bus.emit("billing.invoice.paid", { invoiceId: "i" });
    // @ts-expect-error
    void bus.emit("billing.invoice.paid", { invoiceId: "i", amount: "1" });
  });

  test("is checked where it is subscribed to", () => {
    bus.on("billing.invoice.paid", (payload) => {
      expectTypeOf(payload).toEqualTypeOf<Invoice>();
    });
    bus.on("billing.invoice.paid", (payload: { readonly amount: number }) => payload);
    // @ts-expect-error
    bus.on("billing.invoice.paid", (payload: UserEvent) => payload);
  });
});

describe("an event that a plugin declares by augmenting Events", () => {
  test("is checked where it is emitted, and where it is subscribed to", () => {
    void bus.emit("billing.invoice.voided", { invoiceId: "i", amount: 1 });
    // @ts-expect-error
    void bus.emit("billing.invoice.voided", { invoiceId: "i" });
    bus.on("billing.invoice.voided", (payload) => {
      expectTypeOf(payload).toEqualTypeOf<Invoice>();
    });
    // @ts-expect-error
    bus.on("billing.invoice.voided", (payload: UserEvent) => payload);
  });
});

describe("an event that nobody declared", () => {
  test("is emitted with any payload", () => {
    void bus.emit("my.own", { any: "thing" });
    void bus.emit("my.own", 1);
    void bus.emit("my.own", undefined);
  });

  test("gives its handlers the type that they annotate", () => {
    bus.on("my.own", (invoice: Invoice) => {
      expectTypeOf(invoice).toEqualTypeOf<Invoice>();
    });
    bus.on("my.own", async (invoice: Invoice) => invoice.amount);
    const handler = (invoice: Invoice): void => void invoice;
    bus.on("my.own", handler);
    bus.off("my.own", handler);
  });

  test("gives unknown to a handler without annotation", () => {
    bus.on("my.own", (payload) => {
      expectTypeOf(payload).toEqualTypeOf<unknown>();
    });
  });

  test("may have a name that is known only at run time", () => {
    const dynamic = String(member);
    void bus.emit(dynamic, { any: "thing" });
    bus.on(dynamic, (payload) => expectTypeOf(payload).toEqualTypeOf<unknown>());
    bus.on(dynamic, (invoice: Invoice) => invoice.amount);
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

describe("on", () => {
  test("returns a function that needs nothing and returns nothing", () => {
    expectTypeOf(bus.on("user.deleted", () => {})).toEqualTypeOf<() => void>();
  });

  test("takes functions only", () => {
    // @ts-expect-error
    bus.on("user.deleted", undefined);
    // @ts-expect-error
    bus.on("my.own", "handler");
  });
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

      override off<Name extends EventName, Undeclared = unknown>(
        event: Name,
        handler: EventHandler<EventPayload<Name, Undeclared>>,
      ): void {
        super.off(event, handler);
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

describe("a logger", () => {
  test("needs error, and nothing else", () => {
    expectTypeOf(bus).toExtend<EventBus>();
    new EventBus({ error() {} });
    new EventBus({ error: (message: string, ...details: unknown[]) => [message, details] });
    new EventBus({ error: async () => {} });
    expectTypeOf<{ error(message: unknown, data: object): void }>().toExtend<Logger>();
    // @ts-expect-error
    new EventBus({ warn() {} });
    // @ts-expect-error
    new EventBus("console");
  });
});
