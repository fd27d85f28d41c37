// The page as a person uses it, in a real browser, against real models. `tests/scenarios/test_playground.py` starts
// those, and says where they are: PAGE (which is aimed at tests/model), STREAMING, WAITING, OWN (which shows the page
// itself).
//
// With SCREENSHOTS=FOLDER, pictures of the page are put there.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";

const { BROWSER_PROGRAM, PAGE, STREAMING, WAITING, OWN, SCREENSHOTS } = process.env;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PATIENCE_MS = 30_000;
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);

let browser;
let context;
let page;
let troubles;

before(async () => {
  browser = await chromium.launch({ executablePath: BROWSER_PROGRAM, args: ["--no-sandbox", "--disable-gpu"] });
});
after(() => browser?.close());

beforeEach(async () => {
  context = await browser.newContext({
    viewport: { width: 1280, height: 860 },
    colorScheme: "light",
    permissions: ["clipboard-read", "clipboard-write"],
  });
  context.setDefaultTimeout(PATIENCE_MS);
  page = await context.newPage();
  troubles = [];
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("console", (message) => {
    // A status that is an error is the model's, and shown.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) troubles.push(message.text());
  });
  page.on("request", (request) => {
    if (/^(https?|wss?):/.test(request.url()) && ![PAGE, OWN].includes(new URL(request.url()).origin)) {
      troubles.push(`the page asked for ${request.url()}`);
    }
  });
  await page.goto(`${PAGE}/`);
  await group("what").waitFor();
});
afterEach(async () => {
  await context.close();
  assert.deepEqual(troubles, []);
});

const group = (name) => page.getByRole("group", { name: new RegExp(`^${name}( |$)`) });
const run = () => page.getByRole("button", { name: "Run", exact: true }).click();
const tab = (name) => page.getByRole("tab", { name, exact: false });
const response = () => page.getByRole("region", { name: "Response", exact: true });
const output = () => page.getByRole("tabpanel", { name: /^Output/ });
const isShown = (text) => output().getByText(text).first().waitFor();
const status = (word) => response().locator(".summary .badge", { hasText: word }).waitFor();
const answerWith = (what) => group("what").getByRole("combobox").selectOption({ label: what });

async function connect(target) {
  await page.getByLabel("URL of the model’s server").fill(target);
  await page.getByRole("button", { name: "Connect" }).click();
}

async function shot(name) {
  if (!SCREENSHOTS) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
}

/** What the accessibility checker has to say of the page as it is. */
async function audit(what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  const found = violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes.map((node) => node.html).join("\n")}`);
  assert.deepEqual(found, []);
}

test("the form has every kind of input, with what is said of it", async () => {
  const kinds = {
    what: "combobox",
    text: "textbox",
    code: "textbox",
    count: "slider",
    ratio: "textbox",
    loud: "combobox",
    options: "textbox",
    either: "textbox",
  };
  for (const [name, role] of Object.entries(kinds)) await group(name).getByRole(role).first().waitFor();
  const fields = await page.locator(".fields > .field label[for]").allTextContents();
  assert.equal(fields[0], "what * (required)");
  assert.deepEqual(fields.slice(1, 5), ["text", "code", "count", "ratio"]);
  assert.match(await group("count").innerText(), /How many\s*1 to 10\s*default 3/);
  assert.match(await group("text").innerText(), /at most 200 characters\s*default hello/);
  assert.match(await group("image").innerText(), /image\/\*/);
  assert.match(await group("code").innerText(), /matches/);
  assert.match(await group("old").innerText(), /deprecated/);
  assert.equal(await group("token").locator("input[type=password]").count(), 1);
  assert.equal(await group("image").locator("input[type=file]").getAttribute("accept"), "image/*");
  assert.equal(await group("pictures").locator("input[type=file]").getAttribute("multiple"), "");
  await audit("form");
  await shot("form-light");
});

test("the header tells how the server is", async () => {
  const header = page.locator("header.top");
  await header.getByText("READY", { exact: true }).waitFor();
  await header.getByText(/^coglet \d/).waitFor();
  await header.getByText(/^Python 3/).waitFor();
  await header.getByText(/^Setup succeeded/).click();
  const logs = await header.getByRole("region", { name: "Setup logs" }).innerText();
  assert.match(logs, /ready to play/);
  assert.ok(!logs.includes("\u001b"));
  const [schema] = await Promise.all([context.waitForEvent("page"), page.getByRole("button", { name: "Schema" }).click()]);
  await schema.waitForLoadState();
  assert.match(await schema.locator("body").innerText(), /"openapi"/);
});

test("mistakes are told beside their fields before anything is sent", async () => {
  const sent = [];
  page.on("request", (request) => request.method() === "POST" && sent.push(request.url()));
  await group("count").getByRole("textbox").fill("11");
  await group("code").getByRole("textbox").fill("no");
  await run();
  const summary = page.getByRole("group", { name: "Problems" });
  await summary.getByText("3 inputs need a change").waitFor();
  await group("what").getByText("is required").waitFor();
  await group("count").getByText("must be at most 10").waitFor();
  await group("code").getByText(/must match/).waitFor();
  assert.equal(await group("count").getByRole("textbox").getAttribute("aria-invalid"), "true");
  await audit("problems");
  await shot("problems");
  await summary.getByRole("link", { name: "count" }).click();
  assert.equal(await page.evaluate(() => document.activeElement?.id), "field-count");
  await group("ratio").getByRole("textbox").fill("much");
  await run();
  await group("ratio").getByText("“much” is not a number").waitFor();
  assert.deepEqual(sent, []);
});

test("a prediction shows its output, logs, metrics and request", async () => {
  await answerWith("text");
  await group("text").getByRole("textbox").fill("good morning");
  await group("loud").getByRole("combobox").selectOption("true");
  await run();
  await isShown("GOOD MORNING");
  await status("succeeded");
  assert.match(await output().getByRole("table").innerText(), /asked\s+1[\s\S]*predict_time\s+\d/);
  await tab("Logs").click();
  assert.match(await page.getByRole("region", { name: "Logs" }).innerText(), /^asked for text$/m);
  await tab("Raw").click();
  const raw = JSON.parse(await page.getByRole("region", { name: "Prediction" }).innerText());
  assert.equal(raw.output, "GOOD MORNING");
  await tab("Request").click();
  const exchange = await page.getByRole("tabpanel", { name: "Request" }).innerText();
  assert.match(exchange, /POST http:\/\/127\.0\.0\.1:\d+\/predictions[\s\S]*"text": "good morning"[\s\S]*HTTP 200/);
  assert.match(exchange, /Content-Type\s+application\/json/);
  await audit("request");
  await tab("Timeline").click();
  assert.match(await page.getByRole("tabpanel", { name: "Timeline" }).innerText(), /request[\s\S]*response[\s\S]*succeeded/);
  await audit("timeline");
});

test("only what was chosen is sent, and it arrives as it was typed", async () => {
  await answerWith("inputs");
  await group("ratio").getByRole("textbox").fill("0.25");
  await group("tags").getByRole("textbox").fill('["x", "y"]');
  await group("either").getByRole("textbox").fill("plain text");
  await group("token").locator("input").last().fill("12345");
  await page.getByLabel("Include count").check();
  await page.getByLabel("Include loud").check();
  await page.getByLabel("Include loud").uncheck();
  const [request] = await Promise.all([page.waitForRequest((one) => one.method() === "POST"), run()]);
  assert.deepEqual(JSON.parse(request.postData()).input, {
    what: "inputs",
    ratio: 0.25,
    tags: ["x", "y"],
    either: "plain text",
    token: "12345",
    count: 3,
  });
  const shown = JSON.parse(await output().getByRole("region", { name: "Output" }).innerText());
  assert.deepEqual(shown, {
    count: 3,
    ratio: 0.25,
    loud: false,
    code: "AB",
    options: { deep: true },
    tags: ["x", "y"],
    either: "plain text",
    secret: 5,
  });
});

test("the form and its JSON are one", async () => {
  await answerWith("number");
  await group("image").locator("input[type=file]").setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: Buffer.concat([PNG, Buffer.alloc(400)]) });
  await tab("JSON").click();
  const box = page.getByLabel("The prediction’s input");
  assert.match(await box.inputValue(), /"image": "file 1: dot\.png \(\d+ bytes\)"/);
  await box.fill((await box.inputValue()).replace('"number"', '"number", "count": 4, "ratio": 2'));
  await audit("JSON");
  await tab("Form").click();
  assert.equal(await group("count").getByRole("textbox").inputValue(), "4");
  await group("image").getByText("dot.png").waitFor();
  await run();
  await output().locator(".plain-value", { hasText: /^8$/ }).waitFor();
  await tab("JSON").click();
  await box.fill("{");
  await run();
  await page.getByRole("group", { name: "Problems" }).getByText("JSON: this is not JSON").waitFor();
  await box.fill('{"what": "number", "nonsense": 1}');
  await run();
  await page.getByRole("group", { name: "Problems" }).getByText("is not an input of this model").waitFor();
});

test("pictures go in by choosing, dropping and pasting, and come out", async () => {
  await answerWith("echo");
  const image = group("image");
  await image.locator("input[type=file]").setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: PNG });
  await image.getByRole("img", { name: "dot.png" }).waitFor();
  await run();
  await status("succeeded");
  await output().getByRole("img").waitFor();
  const width = () => output().getByRole("img").evaluate((img) => img.decode().then(() => img.naturalWidth));
  assert.equal(await width(), 1);
  await image.getByRole("button", { name: "Remove dot.png" }).click();

  const transfer = async (name, type) =>
    page.evaluateHandle(
      ([name, type, base64]) => {
        const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], name, { type }));
        return data;
      },
      [name, type, PNG.toString("base64")],
    );
  await image.locator(".drop").dispatchEvent("drop", { dataTransfer: await transfer("notes.txt", "text/plain") });
  await image.getByText("notes.txt is text/plain; this input takes image/*").waitFor();
  await image.locator(".drop").dispatchEvent("drop", { dataTransfer: await transfer("dropped.png", "image/png") });
  await image.getByText("dropped.png").waitFor();
  await image.getByRole("button", { name: "Remove dropped.png" }).click();
  const pasted = await transfer("pasted.png", "image/png");
  await page.evaluate((data) => document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true })), pasted);
  await image.getByText("pasted.png").waitFor();

  await answerWith("picture");
  await run();
  await output().getByRole("img", { name: "colours.png" }).waitFor();
  assert.equal(await width(), 96);
  await audit("picture");
  await shot("picture");
  const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save colours.png" }).click()]);
  assert.equal(saved.suggestedFilename(), "colours.png");
});

test("several files, sound, film and nested files", async () => {
  const pictures = group("pictures");
  await answerWith("files");
  await pictures.locator("input[type=file]").setInputFiles([
    { name: "one.png", mimeType: "image/png", buffer: PNG },
    { name: "two.txt", mimeType: "text/plain", buffer: Buffer.from("second file") },
  ]);
  await pictures.getByText("two.txt").waitFor();
  await run();
  await output().getByRole("img").waitFor();
  await isShown("second file");

  await answerWith("sound");
  await run();
  const audio = output().locator("audio");
  await audio.waitFor();
  assert.equal(await audio.evaluate((one) => one.duration || new Promise((resolve) => one.addEventListener("loadedmetadata", () => resolve(one.duration)))), 0.5);
  await audit("sound");

  const film = await page.evaluate(async () => {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d");
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: "video/webm" });
    const parts = [];
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.start();
    for (let frame = 0; frame < 20; frame += 1) {
      context.fillStyle = `hsl(${frame * 18} 80% 50%)`;
      context.fillRect(0, 0, canvas.width, canvas.height);
      await new Promise(requestAnimationFrame);
    }
    recorder.stop();
    await new Promise((resolve) => recorder.addEventListener("stop", resolve));
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
  });
  await answerWith("echo");
  await group("anything").locator("input[type=file]").setInputFiles({ name: "film.webm", mimeType: "video/webm", buffer: Buffer.from(film, "base64") });
  await group("anything").locator("video").waitFor();
  await run();
  const video = output().locator("video");
  await video.waitFor();
  assert.equal(await video.evaluate((one) => one.videoWidth || new Promise((resolve) => one.addEventListener("loadedmetadata", () => resolve(one.videoWidth)))), 300);

  await answerWith("nested");
  await run();
  await output().getByRole("img", { name: "mask.png" }).waitFor();
  assert.match(await output().getByRole("region", { name: "Output" }).innerText(), /"mask": "data:image\/png;base64,[^"]*… \(/);

  await answerWith("nothing");
  await run();
  await isShown(/^No output/);
});

test("a file that is too large is refused", async () => {
  await group("anything").locator("input[type=file]").setInputFiles({ name: "large.bin", mimeType: "", buffer: Buffer.alloc((16 << 20) + 1) });
  await group("anything").getByText(/large\.bin has 17 MB; at most 16 MiB can be sent from here, else give a URL/).waitFor();
});

test("a failing model and a server that is away are told", async () => {
  await answerWith("failure");
  await run();
  await status("failed");
  await output().getByRole("alert").getByText(/ValueError: this model fails when it is asked to/).waitFor();
  await audit("failure");
  await shot("failure");
  await connect("http://127.0.0.1:9");
  await page.locator("header.top").getByText("unreachable").waitFor();
  await page.getByText("http://127.0.0.1:9 does not answer yet.").waitFor();
  await audit("unreachable");
  await connect("nonsense://x");
  await page.getByText(/invalid target API URL/).waitFor();
});

test("a stream shows its text as it comes, and how it came", async () => {
  await connect(STREAMING);
  await group("prompt").waitFor();
  assert.ok(await page.getByRole("radio", { name: "Stream" }).isChecked());
  await group("tokens").getByRole("textbox").fill("300");
  await run();
  await status("succeeded");
  const text = await output().locator(".text-output p").innerText();
  assert.match(text, /^The /);
  assert.ok(text.split(" ").length > 250, text);
  await output().getByText("first output after").waitFor();
  await tab("Timeline").click();
  await page.getByRole("tabpanel", { name: "Timeline" }).getByText("completed", { exact: true }).first().waitFor();
  await tab("Request").click();
  await page.getByRole("tabpanel", { name: "Request" }).getByText("text/event-stream", { exact: true }).first().waitFor();
  await tab("Output").click();
  await shot("stream");
});

test("webhooks bring the result of an asynchronous prediction", async () => {
  await connect(WAITING);
  await group("delay").waitFor();
  await page.getByRole("radio", { name: "Async" }).check();
  await group("text").getByRole("textbox").fill("webhook");
  await run();
  await isShown("hello webhook");
  await tab("Timeline").click();
  await page.getByRole("tabpanel", { name: "Timeline" }).getByText("webhook: succeeded", { exact: true }).first().waitFor();
  await page.getByText("Options").click();
  await page.getByLabel("output", { exact: true }).uncheck();
  await page.getByLabel(/^ID of the prediction/).fill("mine 1");
  const [request] = await Promise.all([page.waitForRequest((one) => one.method() === "PUT"), run()]);
  assert.match(request.url(), /\/proxy\/predictions\/mine%201$/);
  const body = JSON.parse(request.postData());
  assert.deepEqual(body.webhook_events_filter, ["start", "logs", "completed"]);
  assert.match(body.webhook, /\/webhook\/[0-9a-f]{48}$/);
  await status("succeeded");
  await audit("options");
});

test("a prediction is stopped in every mode", async () => {
  await connect(WAITING);
  await group("text").getByRole("textbox").fill("never");
  await group("delay").getByRole("textbox").fill("60");
  for (const mode of ["Sync", "Async"]) {
    await page.getByRole("radio", { name: mode, exact: true }).check();
    await run();
    await response().locator(".summary .badge", { hasText: /sending|starting|processing/ }).waitFor();
    await page.locator("header.top").getByText(/READY|BUSY/).waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await status("canceled");
  }
  await shot("canceled");
  await page.getByRole("button", { name: "Reset" }).click();
  assert.equal(await group("text").getByRole("textbox").inputValue(), "");
});

test("a model's server shows the page itself", async () => {
  await page.goto(`${OWN}/`);
  await group("delay").waitFor();
  await page.locator("header.top").getByText("READY", { exact: true }).waitFor();
  assert.ok(await page.getByLabel("URL of the model’s server").isHidden());
  for (const mode of ["Sync", "Async"]) {
    await page.getByRole("radio", { name: mode, exact: true }).check();
    await group("text").getByRole("textbox").fill(mode);
    await run();
    await isShown(`hello ${mode}`);
    await status("succeeded");
  }
  await group("delay").getByRole("textbox").fill("99");
  await run();
  await group("delay").getByText("must be at most 60").waitFor();
  await tab("Code").click();
  const curl = page.getByRole("region", { name: "curl code" });
  assert.ok((await curl.innerText()).includes(`${OWN}/predictions`));
});

test("earlier predictions are kept, to look at and to start from", async () => {
  for (const text of ["first", "second"]) {
    await answerWith("text");
    await group("text").getByRole("textbox").fill(text);
    await run();
    await isShown(text);
    await page.locator(".history li", { hasText: text }).waitFor();
  }
  const rows = page.locator(".history li");
  assert.equal(await rows.count(), 2);
  assert.match(await rows.first().innerText(), /second/);
  await rows.last().getByRole("button").first().click();
  await isShown("first");
  await rows.last().getByRole("button", { name: /^Use inputs/ }).click();
  assert.equal(await group("text").getByRole("textbox").inputValue(), "first");
  await audit("history");
  await shot("history");
  await page.getByRole("button", { name: "Clear" }).click();
  assert.equal(await rows.count(), 0);
});

test("the code of a request does the same elsewhere", async () => {
  await answerWith("text");
  await group("text").getByRole("textbox").fill("it's `here` $HOME");
  await tab("Code").click();
  const code = page.getByRole("tabpanel", { name: "Code" });
  const text = (language) => code.getByRole("region", { name: `${language} code` }).innerText();
  const curl = spawnSync("bash", ["-c", await text("curl")], { encoding: "utf8" });
  if (curl.error?.code !== "ENOENT" && curl.status !== 127) assert.equal(JSON.parse(curl.stdout).output, "it's `here` $HOME", curl.stderr);
  await code.getByRole("radio", { name: "JavaScript" }).check();
  const node = spawnSync("node", ["--input-type=module", "-e", await text("javascript")], { encoding: "utf8" });
  assert.equal(node.stdout.trim(), "it's `here` $HOME", node.stderr);
  await code.getByRole("radio", { name: "Python" }).check();
  assert.match(await text("python"), /requests\.post\(/);
  await code.getByRole("button", { name: "Copy python code" }).click();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^import requests/);
  await audit("code");
  await shot("code");
});

/** In place of a model whose answers no server of ours would give. */
async function impersonate(properties, answer) {
  const json = (route, body) => route.fulfill({ contentType: "application/json", body: JSON.stringify(body) });
  const document = { paths: { "/predictions": { post: {} } }, components: { schemas: { Input: { type: "object", properties } } } };
  await page.route("**/proxy/openapi.json", (route) => json(route, document));
  await page.route("**/proxy/predictions", (route) => json(route, { status: "succeeded", output: answer(route.request()) }));
  await page.reload();
}

test("inputs may be named as what every object has", async () => {
  const names = ["constructor", "toString", "valueOf", "hasOwnProperty", "__proto__", "\ud800"];
  const properties = Object.fromEntries(names.map((name, at) => [name, { type: "string", "x-order": at }]));
  let sent = "";
  await impersonate(properties, (request) => {
    sent = request.postData();
    return "fine";
  });
  const boxes = page.locator(".fields textarea");
  await boxes.first().waitFor();
  assert.deepEqual(await boxes.evaluateAll((all) => all.map((one) => one.value)), names.map(() => ""));
  await run();
  await isShown("fine");
  assert.equal(sent, '{"input":{}}');
  for (let at = 0; at < names.length; at += 1) await boxes.nth(at).fill(`value ${at}`);
  await run();
  await page.locator(".history li").nth(1).waitFor();
  assert.deepEqual(Object.entries(JSON.parse(sent).input), names.map((name, at) => [name, `value ${at}`]));
  await tab("Request").click();
  await page.getByRole("region", { name: "Request body" }).getByText("__proto__").waitFor();
  await tab("Code").click();
  assert.match(await page.getByRole("region", { name: "curl code" }).innerText(), /"__proto__": "value 4"/);
  await tab("JSON").click();
  assert.match(await page.getByLabel("The prediction’s input").inputValue(), /"__proto__": "value 4"/);
});

test("whatever a model answers, the page shows that and what comes later", async () => {
  let deep = "end";
  for (let depth = 0; depth < 1000; depth += 1) deep = [deep];
  const outputs = [
    ["data:text/plain;base64,!!!!", "data:text/plain;base64,!!!!"],
    ["data:text/plain,%E0%A4%A", "\ufffd%A"],
    ["data:text/plain,100%", "100%"],
    ["data:text/plain", "data:text/plain"],
    [["data:image/png;base64,!", "data:,%"], "%"],
    [{ constructor: 1, toString: 2, file: "data:text/x;base64,!" }, "data:text/x;base64,!"],
    ["https://127.0.0.1:1/x.constructor", "https://127.0.0.1:1/x.constructor"],
    [deep, "… (more inside)"],
  ];
  let at = 0;
  await impersonate({}, () => (at % 2 ? `fine ${at}` : outputs[at / 2][0]));
  for (; at < 2 * outputs.length; at += 1) {
    await page.getByRole("button", { name: "Run", exact: true }).waitFor();
    await run();
    await isShown(at % 2 ? `fine ${at}` : outputs[at / 2][1]);
    await status("succeeded");
  }
});

test("what cannot be drawn takes nothing else down", async () => {
  await impersonate({}, () => "fine");
  await page.route("**/proxy/health-check", (route) => route.fulfill({ contentType: "application/json", body: JSON.stringify({ status: "READY", setup: { status: "succeeded", logs: 3 } }) }));
  await page.reload();
  await page.getByRole("alert").getByText(/^The server cannot be shown here/).waitFor();
  await run();
  await isShown("fine");
  await page.unroute("**/proxy/health-check");
  await page.route("**/proxy/predictions", (route) => route.fulfill({ contentType: "application/json", body: '{"status": "succeeded", "output": "odd", "metrics": {"a": {"b": 1}}}' }));
  await page.evaluate(() => {
    const entries = Object.entries;
    Object.entries = (value) => {
      if (value?.b === 1) throw new Error("no entries today");
      return entries(value);
    };
  });
  await run();
  await output().getByRole("alert").getByText("This view of the answer cannot be shown here: no entries today").waitFor();
  await page.unroute("**/proxy/predictions");
  await page.route("**/proxy/predictions", (route) => route.fulfill({ contentType: "application/json", body: '{"status": "succeeded", "output": "fine again"}' }));
  await run();
  await isShown("fine again");
});

test("the keyboard is enough", async () => {
  await page.keyboard.press("Tab");
  for (let presses = 0; presses < 60; presses += 1) {
    if ((await page.evaluate(() => document.activeElement?.id)) === "field-what") break;
    await page.keyboard.press("Tab");
  }
  assert.equal(await page.evaluate(() => document.activeElement?.id), "field-what");
  await page.keyboard.type("text");
  await page.keyboard.press("Control+Enter");
  await isShown("hello");
  await tab("Output").focus();
  await page.keyboard.press("ArrowRight");
  await page.getByRole("region", { name: "Prediction" }).waitFor();
  await page.keyboard.press("End");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Code");
});

test("the colours are the reader's", async () => {
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await answerWith("nested");
  await run();
  await status("succeeded");
  await page.getByRole("button", { name: "Switch to dark colours" }).click();
  assert.notEqual(await background(), light);
  await audit("dark");
  await shot("dark");
  await page.reload();
  await group("what").waitFor();
  assert.notEqual(await background(), light);
  await page.getByRole("button", { name: "Switch to light colours" }).click();
  assert.equal(await background(), light);
  await page.emulateMedia({ colorScheme: "dark" });
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  assert.notEqual(await background(), light);
});

test("a phone shows all of it", async () => {
  await page.setViewportSize({ width: 375, height: 740 });
  await answerWith("nested");
  await run();
  await status("succeeded");
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok((await overflow()) <= 0);
  await audit("phone");
  await shot("phone");
  await tab("Request").click();
  assert.ok((await overflow()) <= 0);
});
