/** Checks inputs beside the page: a pattern of the document may take for ever. */

import type { Endpoint } from "./document.ts";
import type { JsonObject } from "./json.ts";
import { type Problem, problems } from "./validate.ts";

export interface Question {
  id: number;
  document: JsonObject;
  input: JsonObject;
  endpoint: Pick<Endpoint, "input">;
}

export interface Finding {
  id: number;
  problems: Problem[];
}

addEventListener("message", (event: MessageEvent<Question>) => {
  const { id, document, endpoint, input } = event.data;
  postMessage({ id, problems: problems(document, endpoint, input) } satisfies Finding);
});
