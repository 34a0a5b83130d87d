import { PgoutputPlugin } from "pg-logical-replication";
import type pg from "pg";
import {
  memberEvents,
  toMember,
  userDeleted,
  type StandardEvent,
} from "../membership-changes/expected";

type Row = Readonly<Record<string, unknown>>;

const publication = "decoded_changes";
/** Its name has to be the server's only one. */
const slot = "'decoded_changes_' || md5(current_database())";
const mostChangesAtATime = 20_000;

/**
 * Has PostgreSQL keep what is committed to members and users from now on, as its log has it: no trigger
 * has a part in it. The server needs `wal_level=logical`, which the embedded one has. One caller a
 * database, who owns the tables.
 *
 * @returns a function that returns the standard events of what was committed since, once, in the order
 * of the commits; if PostgreSQL crashes meanwhile, some may be there twice.
 */
export async function startDecoding(pool: pg.Pool): Promise<() => Promise<StandardEvent[]>> {
  // Without it, the old row has only its key.
  for (const table of ["member", '"user"']) {
    await pool.query(`alter table ${table} replica identity full`);
  }
  await pool.query(`create publication ${publication} for table member, "user"`);
  await pool.query(`select pg_create_logical_replication_slot(${slot}, 'pgoutput')`);

  return async () => {
    const events: StandardEvent[] = [];
    for (let taken = await take(); taken.length > 0; taken = await take()) {
      events.push(...readEvents(taken));
    }
    return events;
  };

  async function take(): Promise<Buffer[]> {
    const { rows } = await pool.query<{ data: Buffer }>(
      `select data from pg_logical_slot_get_binary_changes(
        ${slot}, null, $1, 'proto_version', '1', 'publication_names', $2
      )`,
      [mostChangesAtATime, publication],
    );
    return rows.map(({ data }) => data);
  }
}

function readEvents(messages: readonly Buffer[]): StandardEvent[] {
  const plugin = new PgoutputPlugin({ protoVersion: 1, publicationNames: [publication] });
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
      if (message.relation.name === "user")
        users.set(String((row ?? old)!["id"]), row !== undefined);
      else events.push(...memberEvents(old ? toMember(old) : undefined, row && toMember(row)));
    }
  }
  return events;
}
