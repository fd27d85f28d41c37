/** A request as code that does the same elsewhere. Files are read where the code runs, by the names that they had. */

import { nameOf, splitDataUrl } from "./files.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";
import type { Mode } from "./run.ts";

export type Language = "curl" | "python" | "javascript";

export interface Request {
  target: string;
  path: string;
  method: "POST" | "PUT";
  mode: Mode;
  input: JsonObject;
}

export function snippet(language: Language, request: Request): string {
  const files = new Files();
  const body = files.taken({ input: request.input });
  switch (language) {
    case "curl":
      return curl(request, body, files);
    case "python":
      return python(request, body, files);
    case "javascript":
      return javascript(request, body, files);
  }
}

/** Values that stand for files, by a mark that no input has. */
class Files {
  readonly found: { mark: string; name: string; type: string }[] = [];

  taken(value: Json): Json {
    if (typeof value === "string") {
      const url = splitDataUrl(value);
      // A short one is as good as a file.
      if (!url || (value.length < 200 && nameOf(value) === undefined)) return value;
      const mark = `\u0000file ${this.found.length}\u0000`;
      this.found.push({ mark, name: nameOf(value) ?? "FILE", type: url.type });
      return mark;
    }
    if (Array.isArray(value)) return value.map((item) => this.taken(item));
    if (isObject(value)) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.taken(item)]));
    }
    return value;
  }

  /** Puts an expression in the place of each mark; `literal` is how the mark looks there. */
  placed(
    code: string,
    literal: (mark: string) => string,
    expression: (file: { name: string; type: string }) => string,
  ): string {
    return this.found.reduce((code, file) => code.replace(literal(file.mark), () => expression(file)), code);
  }
}

function headers(mode: Mode): [string, string][] {
  const all: [string, string][] = [["Content-Type", "application/json"]];
  if (mode === "stream") all.push(["Accept", "text/event-stream"]);
  if (mode === "async") all.push(["Prefer", "respond-async"]);
  return all;
}

function curl(request: Request, body: Json, files: Files): string {
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  const lines = [`curl -sS${request.mode === "stream" ? "N" : ""} ${quoted(request.target + request.path)}`];
  if (request.method !== "POST") lines.push(`-X ${request.method}`);
  for (const [name, value] of headers(request.mode)) lines.push(`-H '${name}: ${value}'`);
  const text = JSON.stringify(body, null, 2);
  if (files.found.length === 0) return [...lines, `-d ${quoted(text)}`].join(" \\\n  ");
  // A file may be larger than an argument.
  const escaped = text.replace(/[\\$`]/g, (character) => `\\${character}`);
  const document = files.placed(
    escaped,
    (mark) => JSON.stringify(mark).slice(1, -1).replaceAll("\\", "\\\\"),
    ({ name, type }) => `data:${type};base64,$(base64 < ${quoted(name)} | tr -d '\\n')`,
  );
  return `${[...lines, "-d @- <<JSON"].join(" \\\n  ")}\n${document}\nJSON`;
}

function python(request: Request, body: Json, files: Files): string {
  const lines = ["import requests", ""];
  if (files.found.length > 0) {
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
  const text = files.placed(
    pythonValue(body, "    "),
    (mark) => JSON.stringify(mark),
    ({ name, type }) => `data_url(${JSON.stringify(name)}, ${JSON.stringify(type)})`,
  );
  const extra = headers(request.mode).slice(1);
  lines.push(`response = requests.${request.method.toLowerCase()}(`);
  lines.push(`    ${JSON.stringify(request.target + request.path)},`, `    json=${text},`);
  if (extra.length > 0) lines.push(`    headers=${pythonValue(Object.fromEntries(extra), "    ")},`);
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

function pythonValue(value: Json, indent: string): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((item) => pythonValue(item, indent)).join(", ")}]`;
  if (isObject(value)) {
    const inner = `${indent}    `;
    const entries = Object.entries(value).map(
      ([key, item]) => `${inner}${JSON.stringify(key)}: ${pythonValue(item, inner)},`,
    );
    return entries.length > 0 ? `{\n${entries.join("\n")}\n${indent}}` : "{}";
  }
  return JSON.stringify(value);
}

function javascript(request: Request, body: Json, files: Files): string {
  const lines: string[] = [];
  if (files.found.length > 0) {
    lines.push(
      'import { readFile } from "node:fs/promises";',
      "",
      "const dataUrl = async (path, type) =>",
      '  `data:${type};base64,${await readFile(path, "base64")}`;',
      "",
    );
  }
  const text = files.placed(
    JSON.stringify(body, null, 2).replaceAll("\n", "\n  "),
    (mark) => JSON.stringify(mark),
    ({ name, type }) => `await dataUrl(${JSON.stringify(name)}, ${JSON.stringify(type)})`,
  );
  const all = JSON.stringify(Object.fromEntries(headers(request.mode)), null, 2).replaceAll("\n", "\n  ");
  lines.push(`const response = await fetch(${JSON.stringify(request.target + request.path)}, {`);
  lines.push(`  method: "${request.method}",`, `  headers: ${all},`, `  body: JSON.stringify(${text}),`, "});");
  if (request.mode === "stream") {
    lines.push("for await (const text of response.body.pipeThrough(new TextDecoderStream())) {");
    lines.push("  console.log(text);", "}");
  } else {
    lines.push(`const { ${request.mode === "async" ? "id" : "output"} } = await response.json();`);
    lines.push(`console.log(${request.mode === "async" ? "id" : "output"});`);
  }
  return lines.join("\n");
}
