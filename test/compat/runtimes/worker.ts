import { Miniflare } from "miniflare";
import { bundleUnitTests } from "./bundle";
import type { Report } from "./run-tests";

/** Runs the unit tests in workerd, while a worker answers a request. */
export async function runInWorker(): Promise<Report> {
  const miniflare = new Miniflare({
    modules: true,
    script: await bundleUnitTests(
      "server",
      "export default { fetch: async () => Response.json(await reportRejections(run)) };",
    ),
    compatibilityFlags: ["nodejs_als"],
  });
  try {
    const response = await miniflare.dispatchFetch("http://localhost");
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as Report;
  } finally {
    await miniflare.dispose();
  }
}
