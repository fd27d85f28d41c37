/** Asks the worker, and does not wait for it for ever. */

import type { Endpoint } from "./document.ts";
import type { JsonObject } from "./json.ts";
import type { Problem } from "./validate.ts";
import type { Finding, Question } from "./worker.ts";

const LIMIT_MS = 2000;

let worker: Worker | undefined;
let latest = 0;

/** Nothing if it could not be said in time: then the server says it. */
export function check(document: JsonObject, endpoint: Endpoint, input: JsonObject): Promise<Problem[] | undefined> {
  worker ??= new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const asked = worker;
  latest += 1;
  const id = latest;
  return new Promise((resolve) => {
    const end = (found: Problem[] | undefined) => {
      clearTimeout(timer);
      asked.removeEventListener("message", answered);
      asked.removeEventListener("error", failed);
      resolve(found);
    };
    const answered = (event: MessageEvent<Finding>) => {
      if (event.data.id === id) end(event.data.problems);
    };
    const failed = () => {
      asked.terminate();
      if (worker === asked) worker = undefined;
      end(undefined);
    };
    const timer = setTimeout(failed, LIMIT_MS);
    asked.addEventListener("message", answered);
    asked.addEventListener("error", failed);
    asked.postMessage({ id, document, input: light(input), endpoint: { input: endpoint.input } } satisfies Question);
  });
}

/** Files need not be copied to be checked; nobody writes rules about their text. */
function light(input: JsonObject): JsonObject {
  const enough = 64 << 10;
  const cut = (value: JsonObject[string]): JsonObject[string] => {
    if (typeof value === "string" && value.startsWith("data:")) return value.slice(0, enough);
    return Array.isArray(value) ? value.map(cut) : value;
  };
  return Object.fromEntries(Object.entries(input).map(([name, value]) => [name, cut(value)]));
}
