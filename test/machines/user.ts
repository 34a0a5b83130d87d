import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Defer } from "../fixtures/deferred";
import type { Machine } from "./machine";

/** Makes an ordinary user of this system, who is removed at the end. */
export function createUser(folder: string, defer: Defer): NonNullable<Machine["user"]> {
  const name = `machine${process.pid}`;
  const home = join(folder, name);
  defer(() => execFileSync("userdel", [name]));
  execFileSync("useradd", ["--no-create-home", "--home-dir", home, name]);
  const idOf = (option: string) => Number(execFileSync("id", [option, name]));
  const user = { uid: idOf("-u"), gid: idOf("-g"), home };
  mkdirSync(home, { recursive: true });
  chownSync(home, user.uid, user.gid);
  return user;
}
