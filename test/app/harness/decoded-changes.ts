import { PgoutputPlugin, type Pgoutput } from "pg-logical-replication";
import type pg from "pg";

/** A row by the names of its columns, its values as `pg` would give them. */
export type Row = Readonly<Record<string, unknown>>;

export interface RowChange {
  readonly table: string;
  /** Before the change; not there for an insert. */
  readonly old?: Row;
  /** After the change; not there for a delete. */
  readonly new?: Row;
}

export interface Transaction {
  readonly committedAt: Date;
  /** In the order in which they were made; never empty. */
  readonly changes: readonly RowChange[];
}

const publication = "decoded_changes";
/** Its name has to be the server's only one. */
const slot = "'decoded_changes_' || md5(current_database())";
const mostChangesAtATime = 20_000;

/**
 * Has PostgreSQL keep what is committed to these tables of `public` from now on, as its log has it:
 * no trigger has a part in it. The server needs `wal_level=logical`, which the embedded one has. One
 * caller a database, who owns the tables.
 */
export async function startDecoding(pool: pg.Pool, tables: readonly string[] = ["member", "user"]) {
  const names = tables.map((table) => `public."${table}"`);
  // Without it, the old row has only its key.
  for (const name of names) await pool.query(`alter table ${name} replica identity full`);
  await pool.query(`create publication ${publication} for table ${names.join(", ")}`);
  await pool.query(`select pg_create_logical_replication_slot(${slot}, 'pgoutput')`);

  return {
    /**
     * Returns what was committed since the last call, in the order of the commits.
     *
     * @throws if a table was truncated, which changes rows that the log does not name. If its query
     * fails for another reason, changes may be missing from the next call; if PostgreSQL crashes
     * between two calls, some may come again.
     */
    async takeTransactions(): Promise<Transaction[]> {
      const transactions: Transaction[] = [];
      for (let taken = await take(); taken.length > 0; taken = await take()) {
        transactions.push(...readTransactions(taken));
      }
      return transactions;
    },
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

function readTransactions(messages: readonly Buffer[]): Transaction[] {
  const plugin = new PgoutputPlugin({ protoVersion: 1, publicationNames: [publication] });
  const transactions: Transaction[] = [];
  let changes: RowChange[] = [];
  for (const data of messages) {
    const message = plugin.parse(data);
    if (message.tag === "begin") changes = [];
    else if (message.tag === "truncate") throw new Error("a table was truncated");
    else if (message.tag !== "commit") changes.push(...readChanges(message));
    else if (changes.length > 0) {
      const committedAt = new Date(Number(message.commitTime) / 1_000);
      transactions.push({ committedAt, changes });
    }
  }
  return transactions;
}

function readChanges(message: Pgoutput.Message): RowChange[] {
  switch (message.tag) {
    case "insert":
      return [{ table: message.relation.name, new: message.new }];
    case "update":
      return [{ table: message.relation.name, old: message.old!, new: message.new }];
    case "delete":
      return [{ table: message.relation.name, old: message.old! }];
    default:
      return [];
  }
}
