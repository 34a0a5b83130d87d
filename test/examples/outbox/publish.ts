// @kernia/events 1.0.0: copied from its test/examples/outbox/publish.ts
// Needs no Better Auth. Needs type-fest 5, and the table of standard-events.sql.

import type { EventPayload, Events } from "@kernia/events";
import type { Jsonify, ReadonlyDeep } from "type-fest";

/** The declared events whose payload is the same before and after `JSON.stringify`. */
export type PublishableEvent = {
  [Name in keyof Events]: [Events[Name], Jsonify<Events[Name]>] extends [
    ReadonlyDeep<Jsonify<Events[Name]>>,
    Events[Name],
  ]
    ? Name
    : never;
}[keyof Events];

/** A pool or a client of `pg`. */
export interface Queryable {
  query(text: string, values: unknown[]): Promise<unknown>;
}

/**
 * Adds an event of your own to the outbox: with the client of a transaction, when that commits; with a
 * pool, at once.
 */
export async function publish<Name extends PublishableEvent>(
  db: Queryable,
  event: Name,
  payload: EventPayload<Name>,
): Promise<void> {
  const values = [event, JSON.stringify(payload)];
  await db.query("insert into event_outbox.event (name, payload) values ($1, $2)", values);
}
