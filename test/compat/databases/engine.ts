import type { Defer } from "../../fixtures/deferred";
import type { Database } from "../../membership-changes/database";

/** A database with an adapter, as users of Better Auth have it. */
export interface Engine {
  readonly name: string;
  /** Creates a new database, which is removed at the end. */
  open(defer: Defer): Promise<Database>;
}
