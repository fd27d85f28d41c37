// How long the page takes until somebody can type into its form, in milliseconds: one number for each round, as JSON. The
// browser runs already, and has nothing of the page. `make bench-cli` runs it with BROWSER_PROGRAM, PAGE and ROUNDS; the
// model has an input called `text`.

import { performance } from "node:perf_hooks";
import { chromium } from "playwright-core";

const { BROWSER_PROGRAM, PAGE, ROUNDS } = process.env;

const browser = await chromium.launch({ executablePath: BROWSER_PROGRAM, args: ["--no-sandbox", "--disable-gpu"] });
const times = [];
try {
  for (let round = 0; round < Number(ROUNDS); round += 1) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
    const page = await context.newPage();
    const begun = performance.now();
    await page.goto(`${PAGE}/`, { waitUntil: "commit" });
    await page.getByRole("group", { name: /^text( |$)/ }).getByRole("textbox").first().waitFor();
    await page.getByRole("button", { name: "Run", exact: true }).waitFor();
    times.push(performance.now() - begun);
    await context.close();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(times));
