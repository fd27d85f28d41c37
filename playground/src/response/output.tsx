/** What a model has answered, as it is best looked at. */

import type { Schema } from "../document.ts";
import { isUrl, mediumAt } from "../files.ts";
import { isObject, type Json, type JsonObject } from "../json.ts";
import type { Run } from "../run.ts";
import { duration, plain } from "../text.ts";
import { CopyButton } from "../ui.tsx";
import { JsonView } from "./json-view.tsx";
import { FileView, Link } from "./media.tsx";

/** Items of a list that is still coming, and characters of a text. */
const MAX_GROWING = 200;
const MAX_GROWING_TEXT = 100_000;
const MAX_TEXT = 500_000;

export function Output({ run, schema }: { run: Run; schema: Schema }) {
  const isFinal = run.output !== undefined && (run.ended || run.chunks.items.length === 0);
  const joined = schema["x-cog-array-display"] === "concatenate";
  // What grows is drawn many times a second.
  const value = isFinal ? run.output : joined ? run.chunks.items : run.chunks.items.slice(-MAX_GROWING);
  const hidden = isFinal || !Array.isArray(value) ? 0 : run.chunks.dropped + run.chunks.items.length - value.length;
  const isEmpty = value === undefined || (!isFinal && run.chunks.items.length === 0);
  return (
    <div class="output" aria-busy={!run.ended}>
      {run.error ? <Failure run={run} /> : null}
      {run.hint ? <p class="hint">{run.hint}</p> : null}
      {isEmpty ? (
        <Nothing run={run} />
      ) : (
        <>
          {hidden > 0 ? <p class="dim">The first {hidden.toLocaleString("en")} items are not shown.</p> : null}
          <Whole value={value ?? null} schema={schema} growing={!run.ended} />
        </>
      )}
      <Metrics run={run} />
    </div>
  );
}

function Nothing({ run }: { run: Run }) {
  if (run.ended) return run.error ? null : <p class="dim">No output.</p>;
  return (
    <p class="waiting">
      <span class="spinner" aria-hidden="true" /> {run.status === "sending" ? "Sending…" : `The model works (${run.status})…`}
    </p>
  );
}

function Failure({ run }: { run: Run }) {
  return (
    <div class="failure" role="alert">
      <strong>{run.status === "canceled" ? "Canceled" : "Failed"}</strong>
      <p>{run.error}</p>
      {run.problems.length > 0 ? (
        <ul>
          {run.problems.map(({ path, message }) => (
            <li key={path.join("/")}>
              <code>{path.join("/")}</code> {message}
            </li>
          ))}
        </ul>
      ) : null}
    </div>
  );
}

function Whole({ value, schema, growing }: { value: Json; schema: Schema; growing: boolean }) {
  const joined = schema["x-cog-array-display"] === "concatenate" && Array.isArray(value);
  if (joined && value.every((item) => typeof item === "string" && !item.startsWith("data:"))) {
    return <Text text={value.join("")} growing={growing} />;
  }
  return <Value value={value} stem="output" />;
}

function Value({ value, stem }: { value: Json; stem: string }) {
  if (value === null) return <p class="dim">No output (null).</p>;
  if (typeof value === "string") {
    if (isFile(value)) return <FileView url={value} stem={stem} />;
    return isUrl(value) ? <Link url={value} /> : <Text text={value} growing={false} />;
  }
  if (typeof value !== "object") return <p class="plain-value">{String(value)}</p>;
  if (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string")) {
    const items = value as string[];
    if (items.some(isFile)) {
      return (
        <div class="files">
          {items.map((item, index) => (
            <Value key={index} value={item} stem={`${stem}.${index}`} />
          ))}
        </div>
      );
    }
    return (
      <ol class="items">
        {items.slice(-500).map((item, index) => (
          <li key={index}>{isUrl(item) ? <Link url={item} /> : item}</li>
        ))}
      </ol>
    );
  }
  const found = files(value, []);
  return (
    <>
      {found.length > 0 ? (
        <div class="files">
          {found.map(({ url, path }) => (
            <FileView key={path} url={url} stem={path} />
          ))}
        </div>
      ) : null}
      <JsonView value={value} what="Output" />
    </>
  );
}

function isFile(text: string): boolean {
  return text.startsWith("data:") || (isUrl(text) && mediumAt(text) !== "other");
}

/** The files inside a value, a few dozen at most. */
function files(value: Json, path: string[]): { url: string; path: string }[] {
  if (typeof value === "string") return isFile(value) ? [{ url: value, path: path.join(".") || "output" }] : [];
  if (typeof value !== "object" || value === null || path.length > 8) return [];
  return Object.entries(value)
    .flatMap(([key, item]) => files(item, [...path, key]))
    .slice(0, 48);
}

function Text({ text, growing }: { text: string; growing: boolean }) {
  const most = growing ? MAX_GROWING_TEXT : MAX_TEXT;
  const cut = text.length > most;
  const shown = plain(cut ? text.slice(-most) : text);
  return (
    <div class="text-output">
      <CopyButton what="output" text={() => text} />
      <p>
        {cut ? "… " : ""}
        {shown}
        {growing ? <span class="cursor" aria-hidden="true" /> : null}
      </p>
    </div>
  );
}

function Metrics({ run }: { run: Run }) {
  const rows = flat(run.metrics, []);
  if (run.firstOutput !== undefined && run.options.mode === "stream") {
    rows.push(["first output after", duration(run.firstOutput)]);
  }
  if (run.took !== undefined) rows.push(["total, as seen here", duration(run.took)]);
  if (rows.length === 0) return null;
  return (
    <table class="metrics">
      <caption>Metrics</caption>
      <tbody>
        {rows.map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{value}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function flat(metrics: JsonObject, path: string[]): [string, string][] {
  return Object.entries(metrics).flatMap(([key, value]): [string, string][] => {
    if (isObject(value) && path.length < 4) return flat(value, [...path, key]);
    const name = [...path, key].join(".");
    if (name === "predict_time" && typeof value === "number") return [[name, duration(value * 1000)]];
    return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
  });
}
