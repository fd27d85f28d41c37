/** The model's server, by way of `cog`: a page may only ask where it came from. */

import { isObject, type Json, type JsonObject, parsed } from "./json.ts";

export interface Config {
  target: string;
  webhookBase: string;
  cogVersion: string;
}

export interface Health {
  status: string;
  setup?: { status?: string; logs?: string; started_at?: string; completed_at?: string };
  version?: Record<string, string>;
  user_healthcheck_error?: string;
}

export interface Call {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal;
}

/** Short questions are answered in this time. */
const LIMIT_MS = 10_000;

/** Whether a model's server shows the page itself, and is the one that it is for. */
export function isOwn(): boolean {
  return window.document.getElementById("app")?.dataset.own !== undefined;
}

export async function config(): Promise<Config> {
  if (isOwn()) {
    // A proxy may have put it below a path.
    return { target: new URL(".", location.href).href.replace(/\/$/, ""), webhookBase: "", cogVersion: "" };
  }
  const response = await fetch("/config");
  if (!response.ok) throw new Error(`the playground answers with status ${response.status}`);
  return (await response.json()) as Config;
}

export function send(target: string, { method, path, headers, body, signal }: Call): Promise<Response> {
  return fetch(isOwn() ? `${target}${path}` : `/proxy${path}`, {
    method,
    headers: isOwn() ? (headers ?? {}) : { ...headers, "X-Cog-Target": target },
    body: body ?? null,
    signal: signal ?? null,
    cache: "no-store",
  });
}

/** A short question; the answer's JSON, if it is one. */
export async function ask(
  target: string,
  call: Call,
): Promise<{ status: number; ok: boolean; body: Json | undefined; text: string }> {
  const limit = AbortSignal.timeout(LIMIT_MS);
  const response = await send(target, { ...call, signal: call.signal ? either(call.signal, limit) : limit });
  const text = await response.text();
  return { status: response.status, ok: response.ok, body: parsed(text), text };
}

function either(one: AbortSignal, other: AbortSignal): AbortSignal {
  const both = new AbortController();
  for (const signal of [one, other]) {
    if (signal.aborted) both.abort(signal.reason);
    signal.addEventListener("abort", () => both.abort(signal.reason), { once: true });
  }
  return both.signal;
}

export async function health(target: string, signal: AbortSignal): Promise<Health> {
  const { body, status } = await ask(target, { method: "GET", path: "/health-check", signal });
  if (isObject(body) && typeof body.status === "string") return body as unknown as Health;
  throw new Error(reason(body) ?? `/health-check answers with status ${status}`);
}

export async function document(target: string, signal: AbortSignal): Promise<JsonObject> {
  const { body, status, ok } = await ask(target, { method: "GET", path: "/openapi.json", signal });
  if (ok && isObject(body)) return body;
  throw new Error(reason(body) ?? `/openapi.json answers with status ${status}`);
}

/** What an answer says went wrong. */
export function reason(body: Json | undefined): string | undefined {
  if (!isObject(body)) return undefined;
  if (typeof body.error === "string") return body.error;
  return typeof body.detail === "string" ? body.detail : undefined;
}

/** The headers that the model's server has sent; those of the answer have passed the proxy. */
export function upstreamHeaders(response: Response): Record<string, string[]> {
  const encoded = isOwn() ? null : response.headers.get("X-Cog-Upstream-Headers");
  if (encoded) {
    const bytes = Uint8Array.from(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const headers = parsed(new TextDecoder().decode(bytes));
    if (isObject(headers)) return headers as Record<string, string[]>;
  }
  return Object.fromEntries([...response.headers].map(([name, value]) => [name, [value]]));
}
