import type { Report } from "./run-tests";

/** Reports rejections that nobody handled as failures, where a runtime does not end because of one. */
export async function reportRejections(run: () => Promise<Report>): Promise<Report> {
  const unhandled = new Map<Promise<unknown>, unknown>();
  const ourOwn = "the last of them";
  const allReported = new Promise<void>((resolve) => {
    addEventListener("unhandledrejection", (event) => {
      event.preventDefault();
      if (event.reason === ourOwn) resolve();
      else unhandled.set(event.promise, event.reason);
    });
  });
  // workerd reports also what is handled a microtask later, and then takes it back.
  addEventListener("rejectionhandled", ({ promise }) => unhandled.delete(promise));

  const { passed, failures } = await run();
  // They are reported in order, and some time later.
  void Promise.reject(ourOwn);
  await allReported;
  const rejections = [...unhandled.values()].map((reason) => `unhandled rejection: ${reason}`);
  return { passed, failures: [...failures, ...rejections] };
}
