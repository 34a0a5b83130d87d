import { Launcher } from "chrome-launcher";
import { chromium, type Browser } from "playwright-core";
import { bundleUnitTests } from "./bundle";
import type { Report } from "./run-tests";

/** Starts the Chromium (or Chrome) of this machine, if there is one. */
export async function startBrowser(): Promise<Browser | undefined> {
  const executablePath = findChromium();
  return executablePath === undefined ? undefined : chromium.launch({ executablePath });
}

function findChromium(): string | undefined {
  try {
    return Launcher.getInstallations()[0];
  } catch {
    // It says in this way that there is none.
    return undefined;
  }
}

/** Runs the unit tests in a page. */
export async function runInPage(browser: Browser): Promise<Report> {
  const page = await browser.newPage();
  await page.addScriptTag({
    type: "module",
    content: await bundleUnitTests("browser", "globalThis.report = reportRejections(run);"),
  });
  await page.waitForFunction("globalThis.report");
  return page.evaluate<Report>("globalThis.report");
}
