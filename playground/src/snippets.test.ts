import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Language, type Request, snippet } from "./snippets.ts";

const FILE = "x".repeat(300);
const ODD = `it's "quoted" $HOME \`date\` \\ é\n`;

function request(change: Partial<Request> = {}): Request {
  return { target: "http://localhost:8393", path: "/predictions", method: "POST", mode: "sync", input: { text: ODD, yes: true, none: null }, ...change };
}

/** What a shell that runs the snippet hands to curl. */
function given(code: string): { args: string[]; body: string } {
  const directory = mkdtempSync(join(tmpdir(), "snippet-"));
  writeFileSync(join(directory, "FILE"), FILE);
  const report = `node -e 'console.log(JSON.stringify(process.argv.slice(1)))' -- "$@"; case "$*" in *@-*) cat;; esac`;
  const script = `curl() { ${report}; }\n${code}\n`;
  const { stdout, stderr } = spawnSync("bash", ["-c", script], { cwd: directory, encoding: "utf8" });
  const [first = "", ...rest] = stdout.split("\n");
  assert.ok(first, stderr);
  return { args: JSON.parse(first) as string[], body: rest.join("\n") };
}

test("a shell hands over what the form has", () => {
  const { args } = given(snippet("curl", request()));
  assert.ok(args.includes("http://localhost:8393/predictions"));
  assert.deepEqual(JSON.parse(args[args.indexOf("-d") + 1] ?? ""), { input: request().input });
});

test("files are read where the code runs", () => {
  const url = `data:image/png;base64,${Buffer.from(FILE).toString("base64")}`;
  const input = { text: ODD, files: [url] };
  const { args, body } = given(snippet("curl", request({ input, mode: "async" })));
  assert.ok(args.includes("Prefer: respond-async"));
  assert.deepEqual(JSON.parse(body), { input });
  for (const language of ["python", "javascript"] as Language[]) {
    const code = snippet(language, request({ input }));
    assert.ok(!code.includes(url) && code.includes('"FILE", "image/png"'), code);
  }
});

test("Python is what Python reads", () => {
  for (const mode of ["sync", "stream", "async"] as const) {
    const code = snippet("python", request({ mode, method: "PUT", path: "/predictions/a" }));
    const check = `import ast, sys; ast.parse(sys.stdin.read())`;
    const { status, stderr } = spawnSync("python3", ["-c", check], { input: code, encoding: "utf8" });
    assert.equal(status, 0, stderr + code);
    assert.ok(code.includes("requests.put(") && code.includes("True") && code.includes("None"), code);
  }
});
