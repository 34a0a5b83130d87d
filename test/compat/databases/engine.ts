import type { Defer } from "../../fixtures/deferred";
import type { Database } from "../../membership-changes/database";

/** A database with an adapter, as users of Better Auth have it. */
export interface Engine {
  readonly name: string;
  /** Whether a server in another process can be at the same database. */
  readonly shared: boolean;
  /** Makes a new database and returns where it is. */
  create(defer: Defer): Promise<string>;
  /** Opens it, perhaps in another process. */
  open(location: string, defer: Defer): Promise<Database>;
}
