import type { Defer } from "./deferred";
import { ask } from "./guardian";

/** Makes a folder that is removed at the end, also where this process is killed before. */
export async function createTemporaryFolder(defer: Defer): Promise<string> {
  const path = await ask("createFolder");
  defer(() => ask("remove", path));
  return path;
}
