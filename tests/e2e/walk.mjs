// Walks the page as a paged developer would: services → the troubled service → a trace. Prints what it saw as JSON.
//   node walk.mjs URL SERVICE FOLDER
// Screenshots of every page in light and dark go to FOLDER.
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(new URL("../apps/express/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const [url, service, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const seen = { errors: [], requests: [], clicks: 0, reasons: [], panels: [], services: [], spans: 0, hosts: "" };

async function open(scheme, width = 1280) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 1000 } });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") seen.errors.push(message.text());
  });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("response", (response) => {
    if (response.status() >= 400) seen.requests.push(`${response.status()} ${response.url()}`);
  });
  page.on("requestfailed", (request) => {
    // A request that a newer one replaced is cancelled by the page itself.
    if (request.failure()?.errorText !== "net::ERR_ABORTED") seen.requests.push(`${request.failure()?.errorText} ${request.url()}`);
  });
  return page;
}

// Nothing is loading any more and nothing asks why.
async function settled(page) {
  await page.waitForFunction(
    () => !document.querySelector('[aria-busy="true"]') && !document.body.innerText.includes("Asking why"),
    undefined,
    { timeout: 30_000 },
  );
}

async function shot(page, name) {
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

const light = await open("light");
await light.goto(url);
await light.waitForSelector(`a[href^="/services/"]`, { timeout: 30_000 });
await settled(light);
seen.services = await light.$$eval('a[href^="/services/"]', (links) => links.map((link) => decodeURIComponent(link.pathname.slice("/services/".length))));
await shot(light, "services-light");

await light.click(`a[href^="/services/${encodeURIComponent(service)}"]`);
seen.clicks += 1;
await light.waitForSelector("#panel-operations, section.panel", { timeout: 30_000 });
await settled(light);
// Panels below the fold ask only when they are seen.
await light.evaluate(async () => {
  for (let at = 0; at < document.body.scrollHeight; at += 600) {
    scrollTo(0, at);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
  scrollTo(0, 0);
});
await settled(light);
seen.panels = await light.$$eval("section.panel:not([hidden])", (panels) => panels.map((panel) => panel.id));
seen.reasons = await light.$$eval("section.panel:not([hidden]) .reason", (reasons) =>
  reasons.map((reason) => `${reason.closest("section").id}: ${reason.innerText}`),
);
await shot(light, "service-light");

await light.click('section.panel a[href^="/traces/"]');
seen.clicks += 1;
await light.waitForSelector('[role="treegrid"], [role="tree"], .row, .span', { timeout: 30_000 });
await settled(light);
seen.trace = decodeURIComponent(new URL(light.url()).pathname.slice("/traces/".length));
seen.title = await light.title();
seen.text = (await light.innerText("main, #app, body")).slice(0, 4000);
await shot(light, "trace-light");

await light.goto(`${url}/hosts`);
await light.waitForSelector('a[href^="/hosts/"]', { timeout: 30_000 });
await light.click('a[href^="/hosts/"]');
await light.waitForSelector("section.panel", { timeout: 30_000 });
await settled(light);
seen.hosts = new URL(light.url()).pathname;
seen.hostReasons = await light.$$eval("section.panel:not([hidden]) .reason", (reasons) =>
  reasons.map((reason) => `${reason.closest("section").id}: ${reason.innerText}`),
);
await shot(light, "host-light");

const dark = await open("dark");
for (const [name, path] of [
  ["services", "/"],
  ["service", `/services/${encodeURIComponent(service)}`],
  ["trace", `/traces/${seen.trace}`],
  ["host", seen.hosts],
  ["graph", "/graph"],
  ["arrivals", "/arrivals"],
]) {
  await dark.goto(url + path);
  await dark.waitForLoadState("load");
  await settled(dark);
  await shot(dark, `${name}-dark`);
}
const narrow = await open("light", 390);
await narrow.goto(`${url}/services/${encodeURIComponent(service)}`);
await settled(narrow);
seen.overflow = await narrow.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
await shot(narrow, "service-narrow");
await browser.close();
console.log(JSON.stringify(seen));
