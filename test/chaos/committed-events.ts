import { PgoutputPlugin } from "pg-logical-replication";
import type pg from "pg";
import {
  memberEvents,
  toMember,
  userDeleted,
  type StandardEvent,
} from "../membership-changes/expected";

type Row = Readonly<Record<string, unknown>>;

/** Its name has to be the server's only one. */
const slot = "'committed_events_' || md5(current_database())";

/**
 * Has PostgreSQL keep what is committed to members and users from now on, as its log has it: no trigger
 * has a part in it. The server needs `wal_level=logical`, which the embedded one has. One caller a
 * database, who owns the tables.
 *
 * @returns a function that returns the standard events of what was committed since, in the order of the
 * commits.
 */
export async function startDecoding(pool: pg.Pool): Promise<() => Promise<StandardEvent[]>> {
  await pool.query(`
    -- Without it, the old row has only its key.
    alter table member replica identity full;
    alter table "user" replica identity full;
    create publication committed_events for table member, "user"`);
  await pool.query(`select pg_create_logical_replication_slot(${slot}, 'pgoutput')`);
  return async () => {
    const { rows } = await pool.query<{ data: Buffer }>(
      `select data from pg_logical_slot_get_binary_changes(
        ${slot}, null, null, 'proto_version', '1', 'publication_names', 'committed_events'
      )`,
    );
    return readEvents(rows.map(({ data }) => data));
  };
}

function readEvents(messages: readonly Buffer[]): StandardEvent[] {
  const plugin = new PgoutputPlugin({ protoVersion: 1, publicationNames: ["committed_events"] });
  const events: StandardEvent[] = [];
  /** Of one transaction: whether the user is there after it. */
  const users = new Map<string, boolean>();
  for (const data of messages) {
    const message = plugin.parse(data);
    if (message.tag === "commit") {
      const deleted = [...users.keys()].filter((userId) => !users.get(userId));
      events.push(...deleted.map(userDeleted));
      users.clear();
    } else if ("new" in message || "old" in message) {
      const { old, new: row } = message as { old?: Row | null; new?: Row };
      if (message.relation.name === "user") users.set(String((row ?? old)!["id"]), !!row);
      else events.push(...memberEvents(old ? toMember(old) : undefined, row && toMember(row)));
    }
  }
  return events;
}
