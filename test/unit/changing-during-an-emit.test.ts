import { EventBus } from "@kernia/events";
import { describe, expect, test } from "vitest";

const tick = () => Promise.resolve();

describe.each([
  ["sync", (act: () => void) => act()],
  [
    "async",
    async (act: () => void) => {
      await tick();
      act();
      await tick();
    },
  ],
])("while a %s handler runs", (_, handle) => {
  /** A bus whose first handler acts on the first emit only, and what its handlers were called. */
  function busThat(act: (bus: EventBus) => void) {
    const bus = new EventBus();
    const seen: string[] = [];
    let acted = false;
    bus.on("a", () =>
      handle(() => {
        seen.push("first");
        if (!acted) act(bus);
        acted = true;
      }),
    );
    return { bus, seen };
  }

  test.each([
    ["unsubscribed", (unsubscribe: () => void) => unsubscribe()],
    ["taken off", (_: () => void, bus: EventBus, handler: () => void) => bus.off("a", handler)],
  ])("a later handler that is %s does not start again", async (_, remove) => {
    const { bus, seen } = busThat((bus) => remove(unsubscribe, bus, removed));
    const removed = () => seen.push("removed");
    const unsubscribe = bus.on("a", removed);
    bus.on("a", () => seen.push("last"));

    await bus.emit("a", undefined);

    expect(seen).toEqual(["first", "last"]);
  });

  test("all handlers may be taken off", async () => {
    const { bus, seen } = busThat(() => unsubscribes.forEach((unsubscribe) => unsubscribe()));
    const unsubscribes = [2, 3, 4].map(() => bus.on("a", () => seen.push("later")));

    await bus.emit("a", undefined);
    await bus.emit("a", undefined);

    expect(seen).toEqual(["first", "first"]);
  });

  test("when most are taken off, the others still run, and one that is added waits", async () => {
    const { bus, seen } = busThat((bus) => {
      unsubscribes.forEach((unsubscribe) => unsubscribe());
      bus.on("a", () => seen.push("added"));
    });
    const unsubscribes = [2, 3, 4, 5].map(() => bus.on("a", () => seen.push("taken off")));
    bus.on("a", () => seen.push("last"));

    await bus.emit("a", undefined);
    expect(seen).toEqual(["first", "last"]);

    await bus.emit("a", undefined);
    expect(seen).toEqual(["first", "last", "first", "last", "added"]);
  });

  test("a handler that is added runs in an emit that the same handler begins", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    bus.on("a", (payload: string) =>
      handle(() => {
        if (payload !== "outer") return;
        bus.on("a", (payload) => seen.push(`added runs for ${payload}`));
        void bus.emit("a", "inner");
      }),
    );

    await bus.emit("a", "outer");
    await bus.emit("a", "next");

    expect(seen).toEqual(["added runs for inner", "added runs for next"]);
  });

  test("a handler that takes itself off makes no other be skipped", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    const unsubscribe = bus.on("a", () =>
      handle(() => {
        seen.push("once");
        unsubscribe();
      }),
    );
    bus.on("a", () => seen.push("second"));
    bus.on("a", () => seen.push("third"));

    await bus.emit("a", undefined);
    await bus.emit("a", undefined);

    expect(seen).toEqual(["once", "second", "third", "second", "third"]);
  });

  test("a handler that adds itself again makes no emit endless", async () => {
    const bus = new EventBus();
    let calls = 0;
    const handler = () =>
      handle(() => {
        calls++;
        bus.on("a", handler);
      });
    bus.on("a", handler);

    await bus.emit("a", undefined);
    expect(calls).toBe(1);

    await bus.emit("a", undefined);
    expect(calls).toBe(3);
  });

  test("an earlier handler that is taken off makes no other be skipped", async () => {
    const bus = new EventBus();
    const seen: string[] = [];
    const unsubscribe = bus.on("a", () => seen.push("first"));
    bus.on("a", () =>
      handle(() => {
        seen.push("second");
        unsubscribe();
      }),
    );
    bus.on("a", () => seen.push("third"));

    await bus.emit("a", undefined);

    expect(seen).toEqual(["first", "second", "third"]);
  });
});

test("a handler taken off by another emit does not start again in the one under way", async () => {
  const bus = new EventBus();
  const seen: string[] = [];
  let release = () => {};
  bus.on("a", () => new Promise<void>((resolve) => (release = resolve)));
  const unsubscribe = bus.on("a", () => seen.push("taken off"));
  bus.on("b", unsubscribe);

  const underWay = bus.emit("a", undefined);
  await bus.emit("b", undefined);
  release();
  await underWay;

  expect(seen).toEqual([]);
});
