/** A request as code that does the same elsewhere. Files are read where the code runs, by the names that they had. */

import { FileOf, literal, quoted, shellText, type Syntax, type Tree, tree, word } from "./code.ts";
import { chosenName, splitDataUrl } from "./files.ts";
import type { JsonObject } from "./json.ts";
import type { Mode } from "./run.ts";

export type Language = "curl" | "python" | "javascript";

export interface Request {
  target: string;
  path: string;
  method: "POST" | "PUT";
  mode: Mode;
  input: JsonObject;
}

/** A shorter data URL is as good as a file. */
const SHORT = 200;

export function snippet(language: Language, request: Request): string {
  const files: FileOf[] = [];
  const body = tree({ input: request.input }, (text) => {
    const file = fileOf(text);
    if (file) files.push(file);
    return file;
  });
  switch (language) {
    case "curl":
      return curl(request, body, files);
    case "python":
      return python(request, body, files);
    case "javascript":
      return javascript(request, body, files);
  }
}

/** Only who chose a file names it: a name in a URL of somebody else's could be that of any file of the reader's. */
function fileOf(text: string): FileOf | undefined {
  const url = splitDataUrl(text);
  if (!url) return undefined;
  const name = chosenName(text);
  if (name === undefined && text.length < SHORT) return undefined;
  return new FileOf(name ?? "FILE", url.type);
}

function headers(mode: Mode): [string, string][] {
  const all: [string, string][] = [["Content-Type", "application/json"]];
  if (mode === "stream") all.push(["Accept", "text/event-stream"]);
  if (mode === "async") all.push(["Prefer", "respond-async"]);
  return all;
}

/** Nothing but words in single quotes: a shell takes those as they are. */
function curl(request: Request, body: Tree, files: FileOf[]): string {
  const lines = [`curl -sS${request.mode === "stream" ? "N" : ""} ${word(request.target + request.path)}`];
  if (request.method !== "POST") lines.push(`-X ${request.method}`);
  for (const [name, value] of headers(request.mode)) lines.push(`-H ${word(`${name}: ${value}`)}`);
  const command = (data: string) => [...lines, `-d ${data}`].join(" \\\n  ");
  // JSON has no such character but in a text, and there it is escaped.
  const mark = "\u0000";
  const start = ({ type }: FileOf) => quoted(`data:${type};base64,`).slice(0, -1);
  const json: Syntax = { indent: "  ", none: "null", yes: "true", no: "false", key: quoted, file: (file) => `${start(file)}${mark}"` };
  const [first = "", ...rest] = literal(body, json).split(mark);
  if (files.length === 0) return command(shellText(first));
  // A file may be larger than an argument.
  const parts = [`printf %s ${shellText(first)}`];
  rest.forEach((text, index) => {
    parts.push(`base64 < ${word(files[index]?.name ?? "FILE")} | tr -d '\\n'`, `printf %s ${shellText(text)}`);
  });
  return `{\n${parts.join("\n")}\n} | ${command("@-")}`;
}

function python(request: Request, body: Tree, files: FileOf[]): string {
  const lines = ["import requests", ""];
  if (files.length > 0) {
    lines.unshift("import base64");
    lines.push(
      "",
      "def data_url(path, mime):",
      '    with open(path, "rb") as file:',
      '        return f"data:{mime};base64,{base64.b64encode(file.read()).decode()}"',
      "",
      "",
    );
  }
  const syntax: Syntax = {
    indent: "    ",
    none: "None",
    yes: "True",
    no: "False",
    key: quoted,
    file: ({ name, type }) => `data_url(${quoted(name)}, ${quoted(type)})`,
  };
  const extra = headers(request.mode).slice(1);
  lines.push(`response = requests.${request.method.toLowerCase()}(`);
  lines.push(`    ${quoted(request.target + request.path)},`, `    json=${literal(body, syntax, "    ")},`);
  if (extra.length > 0) lines.push(`    headers=${literal(new Map(extra), syntax, "    ")},`);
  if (request.mode === "stream") lines.push("    stream=True,");
  lines.push(")", "response.raise_for_status()");
  if (request.mode === "stream") {
    lines.push("for line in response.iter_lines(decode_unicode=True):", '    if line.startswith("data: "):');
    lines.push('        print(line.removeprefix("data: "))');
  } else if (request.mode === "async") {
    lines.push('print(response.json()["id"])');
  } else {
    lines.push('print(response.json()["output"])');
  }
  return lines.join("\n");
}

function javascript(request: Request, body: Tree, files: FileOf[]): string {
  const lines: string[] = [];
  if (files.length > 0) {
    lines.push(
      'import { readFile } from "node:fs/promises";',
      "",
      "const dataUrl = async (path, type) =>",
      '  `data:${type};base64,${await readFile(path, "base64")}`;',
      "",
    );
  }
  const syntax: Syntax = {
    indent: "  ",
    none: "null",
    yes: "true",
    no: "false",
    // As a plain key it is no property.
    key: (name) => (name === "__proto__" ? `[${quoted(name)}]` : quoted(name)),
    file: ({ name, type }) => `await dataUrl(${quoted(name)}, ${quoted(type)})`,
  };
  const all = literal(new Map(headers(request.mode)), syntax, "  ");
  lines.push(`const response = await fetch(${quoted(request.target + request.path)}, {`);
  lines.push(`  method: "${request.method}",`, `  headers: ${all},`, `  body: JSON.stringify(${literal(body, syntax, "  ")}),`, "});");
  if (request.mode === "stream") {
    lines.push("for await (const text of response.body.pipeThrough(new TextDecoderStream())) {");
    lines.push("  console.log(text);", "}");
  } else {
    lines.push(`const { ${request.mode === "async" ? "id" : "output"} } = await response.json();`);
    lines.push(`console.log(${request.mode === "async" ? "id" : "output"});`);
  }
  return lines.join("\n");
}
