import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Folder {
  readonly path: string;
  remove(): Promise<void>;
}

/** Makes a new folder for what is needed only now. */
export async function createFolder(parent = tmpdir()): Promise<Folder> {
  const path = await mkdtemp(join(parent, "kernia-events-"));
  return { path, remove: () => removeFolder(path) };
}

/** Removes a folder with all that is in it, if it is there. */
export async function removeFolder(path: string): Promise<void> {
  // Retries: a program that was interrupted may still be writing its last files.
  await rm(path, { recursive: true, force: true, maxRetries: 20 });
}
