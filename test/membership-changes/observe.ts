import { getBus } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import {
  deletedTooEarly,
  expectedEvents,
  leadsTo,
  membershipOf,
  sorted,
  type StandardEvent,
  type StandardEventName,
} from "./expected";
import { createScenario, failure, type MembershipChange } from "./membership-change";
import type { Server } from "./server";

const names: readonly StandardEventName[] = [
  "organization.member.added",
  "organization.member.removed",
  "organization.member.updated",
  "user.deleted",
];

/** The last subscriber: records each event, and whether others can see by then what it says. */
export class Recorder {
  readonly events: StandardEvent[] = [];
  readonly tooEarly: StandardEvent[] = [];
  /** Set once the server has started. */
  server: Server | undefined;
  /** Emits what was added to the outbox, where the events come from there. */
  relay: () => Promise<void> = async () => {};

  plugin(): BetterAuthPlugin {
    return {
      id: "recorder",
      init: (auth) => {
        for (const name of names) {
          getBus(auth).on(name, (payload) => this.#record([name, payload] as StandardEvent));
        }
      },
    };
  }

  clear(): void {
    this.events.length = 0;
    this.tooEarly.length = 0;
  }

  async #record(event: StandardEvent): Promise<void> {
    const [name, payload] = event;
    const { users, members } = await this.server!.database.readTables();
    const isThere =
      name === "user.deleted"
        ? users.has(payload.userId)
        : [...members.values()].some((member) => membershipOf(member) === membershipOf(payload));
    const isRemoval = name === "user.deleted" || name === "organization.member.removed";
    if (isThere === isRemoval) this.tooEarly.push(event);
    // Only now, so that one that the request did not wait for is missing.
    this.events.push(event);
  }
}

export interface Observed {
  /** What is wrong with the events that were emitted; empty if they were right. */
  readonly faults: readonly string[];
  /** Whether the tables differ. */
  readonly changed: boolean;
  /** The answer and what became of the members, without what differs from one time to the next. */
  readonly behaviour: string;
}

/** Makes a change, and compares the events with the tables before and after it. */
export async function observe(
  { prepare, severalTimes, concurrent }: MembershipChange,
  server: Server,
  recorder?: Recorder,
): Promise<Observed> {
  const { readTables, keepsMemberships } = server.database;
  for (const hook of Object.keys(server.hooks)) delete server.hooks[hook as never];
  const make = await prepare(await createScenario(server));
  const before = await readTables();
  await recorder?.relay();
  recorder?.clear();
  const answer = await failure(make());
  await recorder?.relay();
  const events = [...(recorder?.events ?? [])];
  const after = await readTables();

  const expected = expectedEvents(before, after);
  const behaviour = normalize({
    answer,
    members: expected
      .map(([event, payload]) => `${event} ${"role" in payload ? payload.role : ""}`)
      .sort(),
  });
  const changed = expected.length > 0;
  if (!recorder) return { faults: [], changed, behaviour };

  const faults: string[] = [];
  const isExpected = sorted(events).join() === sorted(expected).join();
  const orders = concurrent ? [events, [...events].reverse()] : [events];
  const isWay = severalTimes && orders.some((order) => leadsTo(before, order, after));
  if (!isExpected && !isWay) {
    faults.push(`emitted ${sorted(events)}`, `expected ${sorted(expected)}`);
  }
  // Where memberships outlive their user, they are removed later, if at all.
  if (!concurrent && !keepsMemberships && deletedTooEarly(events)) {
    faults.push(`user.deleted before a removal: ${JSON.stringify(events)}`);
  }
  if (!severalTimes && recorder.tooEarly.length > 0) {
    faults.push(`emitted before others could see it: ${sorted(recorder.tooEarly)}`);
  }
  return { faults, changed, behaviour };
}

/** What differs from one time to the next: ids, dates and ports. */
const varying = [
  /"\d+"/g,
  /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g,
  /\d{4}-\d\d-\d\dT[\d:.]+Z/g,
  /127\.0\.0\.1:\d+/g,
  /(?<![A-Za-z0-9])[A-Za-z0-9]{32}(?![A-Za-z0-9])/g,
];

/** As text that is the same whenever the same happens. */
function normalize(value: unknown): string {
  const text = JSON.stringify(value, null, 1);
  return varying.reduce((text, pattern) => text.replaceAll(pattern, "<varies>"), text);
}
