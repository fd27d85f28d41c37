/** The whole input as JSON. Files stand in it by number, since nobody edits megabytes of base64. */

import { useRef, useState } from "preact/hooks";
import { bytesIn, nameOf, size, splitDataUrl } from "../files.ts";
import { isObject, type Json, type JsonObject, parsed, pretty } from "../json.ts";
import { CopyButton } from "../ui.tsx";
import type { Problem } from "../validate.ts";

const LONG = 300;
const PLACE = /^file (\d+): /;

export function JsonInput(props: {
  value: JsonObject;
  noun: string;
  problems: Problem[];
  onValue: (value: JsonObject | undefined) => void;
  onUnfinished: (why: string) => void;
}) {
  const { value, noun, problems, onValue, onUnfinished } = props;
  const files = useRef<string[]>([]);
  const [text, setText] = useState(() => pretty(without(value, files.current)));
  const [why, setWhy] = useState("");
  const change = (event: Event) => {
    const text = (event.currentTarget as HTMLTextAreaElement).value;
    setText(text);
    const next = text.trim() === "" ? {} : parsed(text);
    const wrong = next === undefined ? "this is not JSON" : isObject(next) ? "" : "this is not an object";
    setWhy(wrong);
    if (wrong) onUnfinished(`JSON: ${wrong}`);
    else onValue(within(next as JsonObject, files.current) as JsonObject);
  };
  return (
    <div class="json-input">
      <CopyButton what="input" text={() => pretty(value)} />
      <label for="json-input">The {noun}’s input</label>
      <textarea
        id="json-input"
        class="code"
        rows={Math.min(30, Math.max(10, text.split("\n").length + 1))}
        value={text}
        spellcheck={false}
        aria-invalid={why !== "" || problems.length > 0}
        aria-describedby="json-input-problems"
        onInput={change}
      />
      <ul class="problems" id="json-input-problems">
        {why ? <li>{why}</li> : null}
        {problems.map(({ path, message }) => (
          <li key={path.join("/") + message}>
            <code>{path.join("/")}</code> {message}
          </li>
        ))}
      </ul>
    </div>
  );
}

function without(value: Json, files: string[]): Json {
  if (typeof value === "string") {
    const url = value.length > LONG ? splitDataUrl(value) : undefined;
    if (!url) return value;
    files.push(value);
    return `file ${files.length}: ${nameOf(value) ?? url.type} (${size(bytesIn(url))})`;
  }
  if (Array.isArray(value)) return value.map((item) => without(item, files));
  if (isObject(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, without(item, files)]));
  }
  return value;
}

function within(value: Json, files: string[]): Json {
  if (typeof value === "string") {
    const place = PLACE.exec(value);
    return (place && files[Number(place[1]) - 1]) ?? value;
  }
  if (Array.isArray(value)) return value.map((item) => within(item, files));
  if (isObject(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, within(item, files)]));
  }
  return value;
}
