import { EventBus, getBus, type EventName, type EventPayload } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { deferToEnd } from "../app/harness/defer-to-end";
import { paths } from "../app/paths/paths";
import { startPathServer, type PathServer, type PathServerOptions } from "../app/paths/server";
import { deletedTooEarly, leadsTo, owed, readTables, sorted, type Told } from "../app/paths/tables";
import { standardEvents } from "./standard-events";

const defer = deferToEnd();

const servers: [string, PathServerOptions][] = [
  ["with transactions", {}],
  [
    "without transactions, first among the plugins",
    { withoutTransactions: true, pluginsFirst: true },
  ],
  ["on one connection, with serial ids", { connections: 1, serialIds: true }],
];

describe.each(servers)("%s, what the tables call for is told:", (_, options) => {
  const recorder = new Recorder();
  let server: PathServer;

  beforeAll(async () => {
    const plugins = [recorder.plugin(), standardEvents()];
    server = await startPathServer(defer, { ...options, plugins });
    recorder.watch(server);
  });

  afterEach(() => {
    for (const hook of Object.keys(server.hooks)) delete server.hooks[hook as never];
  });

  const possible = paths.filter((path) => !options.withoutTransactions || !path.needsTransactions);

  test.each(possible)("$name", async ({ prepare, inSteps }) => {
    const change = await prepare(server);
    const before = await readTables(server.outside);
    recorder.begin();
    await change();
    const told = recorder.end();
    const after = await readTables(server.outside);

    expect(deletedTooEarly(told)).toBeUndefined();
    const right = inSteps && leadsTo(before, told, after) ? told : owed(before, after);
    expect(sorted(told)).toEqual(sorted(right));
    expect(inSteps ? [] : recorder.tooEarly).toEqual([]);
  });
});

/** Keeps what is emitted until a change is answered, and looks whether others can see it already. */
class Recorder {
  readonly tooEarly: Told[] = [];
  #told: Told[] = [];
  #server: PathServer | undefined;

  plugin(): BetterAuthPlugin {
    const record = (told: Told) => this.#told.push(told);
    class RecordingBus extends EventBus {
      override emit<Name extends EventName>(event: Name, payload: EventPayload<Name>) {
        record([event, payload] as Told);
        return super.emit(event, payload);
      }
    }
    return {
      id: "recorder",
      init: (auth) => ({ context: { pluginState: { events: new RecordingBus(auth.logger) } } }),
    };
  }

  watch(server: PathServer): void {
    this.#server = server;
    const bus = getBus(server.context);
    bus.on("organization.member.added", (event) => this.#look("organization.member.added", event));
    bus.on("organization.member.removed", (event) =>
      this.#look("organization.member.removed", event),
    );
    bus.on("organization.member.updated", (event) =>
      this.#look("organization.member.updated", event),
    );
    bus.on("user.deleted", (event) => this.#look("user.deleted", event));
  }

  begin(): void {
    this.tooEarly.length = 0;
    this.#told = [];
  }

  end(): Told[] {
    const told = this.#told;
    this.#told = [];
    return told;
  }

  async #look(...[event, payload]: Told): Promise<void> {
    const { rows } = await this.#server!.outside.query<{ member: number; user: number }>(
      `select (select count(*)::int from member
               where "organizationId"::text = $1 and "userId"::text = $2) as member,
              (select count(*)::int from "user" where id::text = $2) as user`,
      ["organizationId" in payload ? payload.organizationId : null, payload.userId],
    );
    const { member, user } = rows[0]!;
    const wrong =
      event === "user.deleted"
        ? user !== 0
        : member !== (event === "organization.member.removed" ? 0 : 1);
    if (wrong) this.tooEarly.push([event, payload] as Told);
  }
}
