import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./installed";

const paths = [
  "README.md",
  "test/examples/README.md",
  "test/bench/README.md",
  ".github/CONTRIBUTING.md",
  ".github/SECURITY.md",
];

/** What readers read, by its path in this repository. */
export const documents = paths.map((path) => ({
  path,
  text: readFileSync(join(root, path), "utf8"),
}));
