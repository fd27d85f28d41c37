import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { dataUrl } from "./files.ts";
import type { Json, JsonObject } from "./json.ts";
import { type Language, type Request, snippet } from "./snippets.ts";

const FILE = "x".repeat(300);
const ODD = `it's "quoted" $HOME \`date\` \\ é\n`;
/** What runs in a shell that is careless with it, in one way or another. */
const HOSTILE = [
  "$(touch pwned)",
  "`touch pwned`",
  "'; touch pwned; '",
  `"; touch pwned; "`,
  `\\'; touch pwned; \\'`,
  "a\nJSON\ntouch pwned\n",
  "a' !touch !! !$ ^touch^ ${x:-$(touch pwned)} <(touch pwned)",
  "`; await import('fs').then((fs) => fs.writeFileSync('pwned', '')); `${process.exit()}",
  '"""; __import__("os").system("touch pwned"); """ {__import__("os").system("touch pwned")} %s %(x)s',
  "\u0000file 0\u0000",
  "\u001b[201~\u0003touch pwned\r\u007f\u0085\u009b201~ \u202e\u2028 \ud800",
];

// Node has none.
class Reader extends EventTarget {
  result = "";

  async readAsDataURL(file: File): Promise<void> {
    this.result = `data:${file.type};base64,${Buffer.from(await file.arrayBuffer()).toString("base64")}`;
    this.dispatchEvent(new Event("load"));
  }
}
Object.assign(globalThis, { FileReader: Reader });

function request(change: Partial<Request> = {}): Request {
  return { target: "http://localhost:8393", path: "/predictions", method: "POST", mode: "sync", input: { text: ODD, yes: true, none: null }, ...change };
}

/** A folder with files in it, and programs that take the place of others. */
function folder(files: string[]): string {
  const directory = mkdtempSync(join(tmpdir(), "snippet-"));
  for (const name of files) writeFileSync(join(directory, name), FILE);
  const programs = join(directory, "programs");
  mkdirSync(programs);
  const curl = `#!/bin/sh
node -e 'console.log(JSON.stringify(process.argv.slice(1)))' -- "$@"
case "$*" in *@-*) cat;; esac
`;
  writeFileSync(join(programs, "curl"), curl, { mode: 0o755 });
  writeFileSync(
    join(programs, "requests.py"),
    `import json as JSON
class Response:
    def raise_for_status(self): pass
    def json(self): return {"output": "", "id": ""}
    def iter_lines(self, decode_unicode): return []
def post(url, json, headers={}, stream=False):
    print(JSON.dumps([url, json]))
    return Response()
put = post
`,
  );
  return directory;
}

function run(program: string, args: string[], directory: string, input = ""): string {
  const env = { ...process.env, PATH: `${join(directory, "programs")}:${process.env.PATH}`, PYTHONPATH: join(directory, "programs"), HOME: directory };
  const { stdout, stderr, status, error } = spawnSync(program, args, { cwd: directory, env, input, encoding: "utf8" });
  assert.equal(error, undefined);
  assert.equal(status, 0, stderr + stdout);
  return stdout;
}

/** What a shell that runs the snippet hands to curl. */
function given(code: string, shell = ["bash"], files = ["FILE"], before = ""): { args: string[]; body: Json; directory: string } {
  const directory = folder(files);
  const [program = "", ...args] = shell;
  const stdout = run(program, args, directory, `${before}${code}\n`);
  const [first = "", ...rest] = stdout.split("\n");
  const handed = JSON.parse(first) as string[];
  const data = handed[handed.indexOf("-d") + 1] ?? "";
  return { args: handed, body: JSON.parse(data === "@-" ? rest.join("\n") : data) as Json, directory };
}

const isInstalled = (program: string) => spawnSync(program, ["-c", ":"]).error === undefined;

/** Each with what is said first. zsh and bash are run as at a terminal, too, where they replace `!`. */
function shells(): [string[], string][] {
  return (
    [
      [["bash"], ""],
      [["bash"], "set -o history -o histexpand\n: 'an earlier command; touch pwned; it'\\''s'\n"],
      [["sh"], ""],
      [["zsh", "-f"], ""],
      [["zsh", "-f"], "setopt bang_hist rc_quotes interactive_comments\n"],
    ] as [string[], string][]
  ).filter(([[program = ""]]) => isInstalled(program));
}

/** As in a URL, which has no halves of characters. */
const encoded = (text: string) => encodeURIComponent(text.replace("\ud800", ""));

/** Inputs with everything hostile in every place. */
async function hostile(): Promise<JsonObject> {
  const input: [string, Json][] = [["__proto__", "ours"]];
  for (const [index, text] of HOSTILE.entries()) {
    input.push([`text ${index}`, text], [text, [index, text]]);
    const base64 = Buffer.from(FILE).toString("base64");
    input.push([`type ${index}`, `data:${text};base64,${base64}`]);
    input.push([`name ${index}`, `data:a/${text};name=${encoded(text)};base64,${base64}`]);
    input.push([`short ${index}`, `data:${text};name=${encoded(text)};base64,AAAA`]);
  }
  return Object.fromEntries(input);
}

/** What a server is to get: files as they are where the code runs. */
function expected(input: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(input).map(([key, value]) => {
      if (typeof value !== "string" || !value.startsWith("data:") || value.length < 200 || !value.includes(",")) return [key, value];
      const type = value.slice(5, value.indexOf(",")).split(";")[0] ?? "";
      return [key, `data:${type.toLowerCase()};base64,${Buffer.from(FILE).toString("base64")}`];
    }),
  );
}

test("a shell hands over what the form has", () => {
  const { args, body } = given(snippet("curl", request()));
  assert.ok(args.includes("http://localhost:8393/predictions"));
  assert.deepEqual(body, { input: request().input });
});

test("files are read where the code runs", () => {
  const url = `data:image/png;base64,${Buffer.from(FILE).toString("base64")}`;
  const input = { text: ODD, files: [url] };
  const { args, body } = given(snippet("curl", request({ input, mode: "async" })));
  assert.ok(args.includes("Prefer: respond-async"));
  assert.deepEqual(body, { input });
  for (const language of ["python", "javascript"] as Language[]) {
    const code = snippet(language, request({ input }));
    assert.ok(!code.includes(url) && code.includes('"FILE", "image/png"'), code);
  }
});

test("shells run nothing of what an input has", async () => {
  const input = await hostile();
  const plain = Object.fromEntries(Object.entries(input).filter(([key]) => !/^(type|name)/.test(key)));
  for (const [shell, before] of shells()) {
    for (const some of [input, plain]) {
      const target = `http://localhost/${HOSTILE[2]}${HOSTILE[0]}`;
      const { args, body, directory } = given(snippet("curl", request({ input: some, target })), shell, ["FILE"], before);
      assert.ok(args.includes(`${target}/predictions`), String(args));
      assert.deepEqual(body, { input: expected(some) });
      assert.deepEqual(readdirSync(directory).sort(), ["FILE", "programs"], String(shell));
    }
  }
});

test("Python and JavaScript run nothing of what an input has", async () => {
  const input = await hostile();
  const target = `http://localhost/${HOSTILE[3]}`;
  const sent = `globalThis.fetch = async (url, { body }) => {
    console.log(JSON.stringify([url, JSON.parse(body)]));
    return { json: async () => ({ output: "" }) };
  };\n`;
  const programs: [Language, string, string[], string][] = [
    ["python", "python3", ["-"], ""],
    ["javascript", "node", ["--input-type=module", "-"], sent],
  ];
  for (const [language, program, args, before] of programs) {
    const directory = folder(["FILE"]);
    const [line = ""] = run(program, args, directory, before + snippet(language, request({ input, target }))).split("\n");
    assert.deepEqual(JSON.parse(line), [`${target}/predictions`, { input: expected(input) }], language);
    assert.deepEqual(readdirSync(directory).filter((name) => name !== "__pycache__").sort(), ["FILE", "programs"]);
  }
});

test("a file that was chosen is read by its name, whatever that is", async () => {
  for (const [index, name] of ["-n it's $(touch pwned).png", "`touch pwned`", '"; touch pwned #', "a!b"].entries()) {
    const file = new File([FILE.slice(index)], name, { type: "image/png" });
    const input = { file: await dataUrl(file) };
    const code = snippet("curl", request({ input }));
    for (const [shell, before] of shells()) {
      const { body, directory } = given(code, shell, [name], before);
      const sent = `data:image/png;base64,${Buffer.from(FILE).toString("base64")}`;
      assert.deepEqual(body, { input: { file: sent } });
      assert.deepEqual(readdirSync(directory).sort(), [name, "programs"].sort());
    }
  }
});

test("a name that nobody chose here is no file of the reader's", () => {
  const input = { file: `data:image/png;name=.ssh%2Fid_rsa;base64,${"A".repeat(300)}` };
  for (const language of ["curl", "python", "javascript"] as Language[]) {
    const code = snippet(language, request({ input }));
    assert.ok(!code.includes("id_rsa") && code.includes("FILE"), code);
  }
});

test("nothing in the code acts on a terminal or hides from who reads it", async () => {
  const file = new File([FILE], "a\u001b[201~\nb\u202e", { type: "text/plain" });
  const input = { ...(await hostile()), file: await dataUrl(file) };
  for (const language of ["curl", "python", "javascript"] as Language[]) {
    const code = snippet(language, request({ input }));
    assert.doesNotMatch(code, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029]/, language);
    assert.ok(!code.includes("\u202e"), language);
    // Old shells look for it in each line of what is in quotes.
    if (language === "curl") assert.doesNotMatch(code, /(?<!\\)!/);
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
