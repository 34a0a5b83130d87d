import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { deferToEnd } from "../../fixtures/defer-to-end";
import { createOutbox, takeEvents } from "../../fixtures/outbox";
import { paths } from "../../membership-changes/membership-changes";
import { startPathServer, type PathServer } from "../../membership-changes/server";
import {
  deletedTooEarly,
  leadsTo,
  owed,
  readTables,
  type Told,
} from "../../membership-changes/expected";

const defer = deferToEnd();

describe("what the tables call for gets into the outbox:", () => {
  let server: PathServer;

  beforeAll(async () => {
    server = await startPathServer(defer);
    await createOutbox(server.outside);
  });

  afterEach(() => {
    for (const hook of Object.keys(server.hooks)) delete server.hooks[hook as never];
  });

  test.each(paths)("$name", async ({ prepare, inSteps }) => {
    const change = await prepare(server);
    await takeEvents(server.outside);
    const before = await readTables(server.outside);
    await change();
    const told = (await takeEvents(server.outside)) as Told[];
    const after = await readTables(server.outside);

    expect(deletedTooEarly(told)).toBeUndefined();
    // Each of several steps is told; what they come to has to be what the tables say.
    const called = inSteps && leadsTo(before, told, after) ? told : owed(before, after);
    expect(sorted(told)).toEqual(sorted(called));
  });
});

/** `jsonb` has an order of its own for keys. */
function sorted(events: Told[]): string[] {
  const keys = ["organizationId", "userId", "role", "action"];
  return events.map((event) => JSON.stringify(event, keys)).sort();
}
