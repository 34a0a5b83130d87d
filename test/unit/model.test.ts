import { EventBus, type Logger } from "@kernia/events";
import fc from "fast-check";
import { expect, test } from "vitest";

type Handler = (payload: unknown) => unknown;

/** What an `EventBus` promises, as simply as it can be said. */
class Model {
  registrations: { event: string; handler: Handler; active: boolean }[] = [];

  constructor(readonly logger: Logger) {}

  on(event: string, handler: Handler): () => void {
    const registration = { event, handler, active: true };
    this.registrations.push(registration);
    return () => {
      registration.active = false;
    };
  }

  off(event: string, handler: Handler): void {
    const registration = this.registrations.find(
      (each) => each.active && each.event === event && each.handler === handler,
    );
    if (registration) registration.active = false;
  }

  async emit(event: string, payload: unknown): Promise<void> {
    for (const registration of this.registrations.filter((each) => each.event === event)) {
      if (!registration.active) continue;
      try {
        const result = registration.handler(payload) as PromiseLike<unknown> | undefined;
        if (result?.then) await result;
      } catch (error) {
        void Promise.resolve().then(() => this.logger.error("Event handler failed:", event, error));
      }
    }
  }
}

const names = ["a", "b", "__proto__"];
const event = fc.constantFrom(...names);
const index = fc.nat({ max: 4 });

/** One thing that a program, or a handler while it runs, does to the bus. */
const action = fc.oneof(
  fc.record({ kind: fc.constant("on" as const), event, handler: index }),
  fc.record({ kind: fc.constant("off" as const), event, handler: index }),
  fc.record({ kind: fc.constant("unsubscribe" as const), nth: fc.nat({ max: 9 }) }),
  fc.record({ kind: fc.constant("emit" as const), event, awaited: fc.boolean() }),
);
const outcomes = ["return", "resolve", "thenable", "throw", "reject", "reject thenable"] as const;
const handler = fc.record({
  before: fc.array(action, { maxLength: 2 }),
  ticks: fc.nat({ max: 3 }),
  after: fc.array(action, { maxLength: 2 }),
  outcome: fc.constantFrom(...outcomes),
});
const program = fc.record({
  handlers: fc.array(handler, { minLength: 5, maxLength: 5 }),
  subscribed: fc.array(fc.tuple(event, index), { maxLength: 8, size: "max" }),
  actions: fc.array(action, { minLength: 1, maxLength: 16, size: "max" }),
});
type Program = typeof program extends fc.Arbitrary<infer Value> ? Value : never;
type Action = Program["actions"][number];

/** Runs the program and returns what could be seen of it. */
async function run(
  { handlers, subscribed, actions }: Program,
  create: (logger: Logger) => Pick<Model, "on" | "off" | "emit">,
): Promise<unknown[]> {
  const trace: unknown[] = [];
  const unsubscribes: (() => void)[] = [];
  const emits: Promise<void>[] = [];
  // Handlers that emit would otherwise go on for ever.
  let emitsLeft = 12;

  const bus = create({ error: (...logged) => trace.push(["logged", ...logged]) });
  const functions = handlers.map(({ before, ticks, after, outcome }, number): Handler => {
    const failure = `failure of ${number}`;
    const isAsync = !["return", "throw"].includes(outcome);
    return (payload) => {
      trace.push(["called", number, payload]);
      for (const each of before) void act(each);
      if (outcome === "throw") throw failure;
      if (!isAsync) return trace;
      const later = (async () => {
        for (let tick = 0; tick < ticks; tick++) await undefined;
        for (const each of after) await act(each);
        trace.push(["ends", number, payload]);
        if (outcome.startsWith("reject")) throw failure;
      })();
      if (!outcome.endsWith("thenable")) return later;
      return { then: later.then.bind(later) };
    };
  });

  function act(action: Action): Promise<void> | undefined {
    switch (action.kind) {
      case "on":
        unsubscribes.push(bus.on(action.event, functions[action.handler]!));
        return;
      case "off":
        return void bus.off(action.event, functions[action.handler]!);
      case "unsubscribe":
        return void unsubscribes[action.nth % (unsubscribes.length || 1)]?.();
      case "emit": {
        if (emitsLeft === 0) return;
        const payload = emitsLeft--;
        const emitted = bus.emit(action.event, payload);
        emits.push(emitted.then((value) => void trace.push(["settled", payload, value])));
        return action.awaited ? emitted : undefined;
      }
    }
  }

  for (const [event, handler] of subscribed) void act({ kind: "on", event, handler });
  for (const each of actions) await act(each);
  while (emits.length > 0) await Promise.all(emits.splice(0));
  return trace;
}

const programs = Number(process.env["MODEL_PROGRAMS"] ?? 10_000);
/** Some fifty times what one takes. */
const millisecondsForEach = 6;

test(
  `${programs.toLocaleString("en")} random programs see of the bus what they see of the model`,
  { timeout: programs * millisecondsForEach },
  async () => {
    let entries = 0;
    await fc.assert(
      fc.asyncProperty(program, async (program) => {
        const seen = await run(program, (logger) => new EventBus(logger));
        expect(seen).toEqual(await run(program, (logger) => new Model(logger)));
        entries += seen.length;
      }),
      { numRuns: programs },
    );
    // Programs that do nothing would prove nothing.
    expect(entries).toBeGreaterThan(10 * programs);
  },
);
