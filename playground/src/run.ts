/** One prediction from the request to its end, in each of the three ways. */

import { ask, reason, send, upstreamHeaders } from "./api.ts";
import type { Endpoint } from "./document.ts";
import { chunks, Last, Tail } from "./growing.ts";
import { abridged, isObject, type Json, type JsonObject, parsed, weight, worded } from "./json.ts";
import { events } from "./sse.ts";
import { encoded } from "./text.ts";

export type Mode = "sync" | "stream" | "async";

export interface Options {
  target: string;
  webhookBase: string;
  endpoint: Endpoint;
  mode: Mode;
  id: string;
  input: JsonObject;
  /** What webhooks are wanted for, besides the end. */
  webhookEvents: string[];
}

export interface Moment {
  /** Milliseconds since the request. */
  at: number;
  name: string;
  detail: Json | undefined;
}

export interface Answer {
  status: number;
  headers: Record<string, string[]>;
  body: Json | undefined;
}

export const ENDED = ["succeeded", "failed", "canceled"];

/** How long a prediction that is being canceled may take to say so, before its connection is closed. */
const CANCEL_GRACE_MS = 5000;
const POLL_MS = 1000;
/** Servers that reach this machine do so at once. */
const WEBHOOK_HINT_MS = 8000;

export class Run {
  readonly started = new Date();
  readonly method: "POST" | "PUT";
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: JsonObject;
  status = "sending";
  id = "";
  answer: Answer | undefined;
  output: Json | undefined;
  readonly chunks = chunks();
  readonly logs = new Tail();
  metrics: JsonObject = {};
  error = "";
  /** What the server says of single inputs. */
  problems: { path: string[]; message: string }[] = [];
  hint = "";
  readonly moments = new Last<Moment>({ items: 500, size: 4 << 20 }, (moment) => weight(moment.detail));
  firstOutput: number | undefined;
  took: number | undefined;

  private readonly began = performance.now();
  private readonly abort = new AbortController();
  private readonly token: string;
  private changed = false;
  private stopping = false;
  private webhooks = 0;

  constructor(
    readonly options: Options,
    private readonly onChange: () => void,
  ) {
    const { endpoint, mode, id, input } = options;
    this.id = id;
    this.method = id ? "PUT" : "POST";
    this.path = id ? `${endpoint.path}/${encoded(id)}` : endpoint.path;
    this.token = mode === "async" ? opaque() : "";
    this.headers = { "Content-Type": "application/json", "Cog-Output-Names": "1" };
    if (mode === "stream") {
      this.headers.Accept = "text/event-stream";
      // A page that is slow misses events, and still gets the end.
      this.headers["Cog-Events"] = "1";
    }
    if (mode === "async") this.headers.Prefer = "respond-async";
    this.body = { input };
    if (mode === "async" && options.webhookBase) {
      this.body.webhook = `${options.webhookBase}/webhook/${this.token}`;
      this.body.webhook_events_filter = [...options.webhookEvents, "completed"];
    }
  }

  get ended(): boolean {
    return this.took !== undefined;
  }

  get elapsed(): number {
    return this.took ?? performance.now() - this.began;
  }

  /** Resolves at its end, whatever that is. */
  async go(): Promise<void> {
    try {
      this.note("request", `${this.method} ${this.path}`);
      await (this.options.mode === "async" ? this.asynchronous() : this.waiting());
    } catch (error) {
      if (this.abort.signal.aborted) this.end("canceled", "");
      else this.end("failed", error instanceof Error ? error.message : String(error));
    } finally {
      this.abort.abort();
      if (!this.ended) this.end("failed", "the answer ended before the prediction did");
    }
  }

  /** Cancels it. Where the server does not say in time that it has ended, or does not know it, it is left. */
  async stop(): Promise<void> {
    if (this.ended || this.stopping) return;
    this.stopping = true;
    this.note("cancel", undefined);
    if (!this.id) {
      // Closing the connection cancels, too.
      this.abort.abort();
      return;
    }
    const path = `${this.options.endpoint.path}/${encoded(this.id)}/cancel`;
    setTimeout(() => this.abort.abort(), CANCEL_GRACE_MS);
    try {
      await ask(this.options.target, { method: "POST", path });
    } catch {
      this.abort.abort();
    }
  }

  /** The last of what was made, for what is kept of it when it has ended: files may be large. */
  get weight(): number {
    return weight(this.output) + weight(this.body) + this.chunks.items.length * 32 + this.logs.text.length;
  }

  private send(): Promise<Response> {
    return send(this.options.target, {
      method: this.method,
      path: this.path,
      headers: this.headers,
      body: JSON.stringify(this.body),
      signal: this.abort.signal,
    });
  }

  private async waiting(): Promise<void> {
    const response = await this.send();
    const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
    this.answer = { status: response.status, headers: upstreamHeaders(response), body: undefined };
    this.note("response", response.status);
    if (!isStream || !response.body) {
      this.whole(response, await response.text());
      return;
    }
    for await (const event of events(response.body)) {
      this.event(event.name, parsed(event.data));
      if (this.ended) return;
    }
  }

  private whole(response: Response, text: string): void {
    const body = parsed(text) ?? (text === "" ? undefined : text);
    this.answer = { status: response.status, headers: upstreamHeaders(response), body };
    if (isObject(body) && typeof body.status === "string" && ENDED.includes(body.status) && response.ok) {
      this.snapshot(body);
    } else if (response.status === 202 && isObject(body)) {
      this.snapshot(body);
      this.end("failed", "a prediction with this ID is running already");
    } else {
      this.refused(response.status, body);
    }
  }

  private refused(status: number, body: Json | undefined): void {
    const detail = isObject(body) && Array.isArray(body.detail) ? body.detail : [];
    this.problems = detail.filter(isObject).map((one) => ({
      path: (Array.isArray(one.loc) ? one.loc : []).slice(2).map(worded),
      message: worded(one.msg),
    }));
    const said = reason(body) ?? (typeof body === "string" ? body : undefined);
    const why = this.problems.length > 0 ? "the server does not take this input" : said;
    this.end("failed", `${why ?? "no prediction was made"} (status ${status})`);
  }

  private event(name: string, data: Json | undefined): void {
    const fields = isObject(data) ? data : {};
    if (name !== "output" || this.chunks.items.length < 200) this.note(name, data);
    switch (name) {
      case "start":
        this.status = "processing";
        if (typeof fields.id === "string") this.id = fields.id;
        break;
      case "output":
        this.firstOutput ??= this.elapsed;
        this.chunks.add(fields.chunk ?? null);
        break;
      case "log":
        this.logs.add(typeof fields.data === "string" ? fields.data : "");
        break;
      case "metric":
        if (typeof fields.name === "string") this.metrics = { ...this.metrics, [fields.name]: fields.value ?? null };
        break;
      case "completed":
        this.snapshot(fields);
        break;
      case "error":
        this.hint = `${worded(fields.error ?? "events are missing")} (${worded(fields.skipped ?? "?")})`;
        break;
    }
    this.change();
  }

  private async asynchronous(): Promise<void> {
    // A server that shows the page itself is asked for the result.
    const source = this.options.webhookBase ? new EventSource(`/events?token=${this.token}`) : undefined;
    const done = new Promise<void>((resolve) => {
      this.abort.signal.addEventListener("abort", () => resolve(), { once: true });
      source?.addEventListener("message", (message: MessageEvent<string>) => {
        const snapshot = parsed(message.data);
        if (!isObject(snapshot) || this.ended) return;
        this.webhooks += 1;
        this.hint = "";
        this.note(`webhook: ${worded(snapshot.status)}`, snapshot);
        this.snapshot(snapshot);
        if (this.ended) resolve();
      });
    });
    try {
      if (source) await opened(source, this.abort.signal);
      const response = await this.send();
      const text = await response.text();
      const body = parsed(text);
      this.answer = { status: response.status, headers: upstreamHeaders(response), body: body ?? text };
      this.note("response", response.status);
      if (response.status !== 202 || !isObject(body)) {
        if (!this.ended) this.whole(response, text);
        return;
      }
      this.snapshot(body);
      await Promise.race([done, this.poll()]);
      if (!this.ended) this.end("canceled", "");
    } finally {
      source?.close();
    }
  }

  /** Asks for the result besides: some servers tell it, and webhooks may not find their way. */
  private async poll(): Promise<void> {
    const { target, webhookBase, endpoint } = this.options;
    const path = `${endpoint.path}/${encoded(this.id)}`;
    while (!this.ended && !this.abort.signal.aborted) {
      await pause(POLL_MS, this.abort.signal);
      const answer = await ask(target, { method: "GET", path, signal: this.abort.signal }).catch(() => undefined);
      if (this.ended || this.abort.signal.aborted) return;
      if (answer === undefined || answer.status >= 500) continue;
      if (!answer.ok || !isObject(answer.body)) break;
      this.snapshot(answer.body);
    }
    if (this.ended) return;
    // Only webhooks can tell.
    await pause(WEBHOOK_HINT_MS, this.abort.signal);
    if (!this.ended && this.webhooks === 0) {
      this.hint = `No webhook has arrived yet. The model's server has to reach ${webhookBase} (--webhook-host, --host).`;
      this.change();
    }
    await new Promise(() => {});
  }

  /** What a server says of the prediction as a whole. */
  private snapshot(body: JsonObject): void {
    if (typeof body.id === "string") this.id = body.id;
    if (typeof body.logs === "string" && body.logs.length >= this.logs.text.length) this.logs.set(body.logs);
    if (isObject(body.metrics)) this.metrics = body.metrics;
    if (body.output !== undefined && body.output !== null) {
      this.firstOutput ??= this.elapsed;
      this.output = body.output;
    } else if (body.status === "succeeded") {
      this.output = body.output ?? null;
    }
    const status = typeof body.status === "string" ? body.status : this.status;
    if (ENDED.includes(status)) this.end(status, typeof body.error === "string" ? body.error : "");
    else this.status = status;
    this.change();
  }

  private end(status: string, error: string): void {
    if (this.ended) return;
    this.took = this.elapsed;
    this.status = status;
    this.error = error;
    this.note(status, error || undefined);
    this.change();
  }

  private note(name: string, detail: Json | undefined): void {
    this.moments.add({ at: this.elapsed, name, detail: detail === undefined ? undefined : abridged(detail, 2000) });
    this.change();
  }

  /** A stream has more events than a screen has frames. */
  private change(): void {
    if (this.changed) return;
    this.changed = true;
    const tell = () => {
      if (!this.changed) return;
      this.changed = false;
      this.onChange();
    };
    requestAnimationFrame(tell);
    // A page in the background has no frames.
    setTimeout(tell, 250);
  }
}

function opaque(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function opened(source: EventSource, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = () => reject(new Error("the playground's server does not relay webhooks; is it still running?"));
    source.addEventListener("open", () => resolve(), { once: true });
    source.addEventListener("error", failed, { once: true });
    signal.addEventListener("abort", failed, { once: true });
  });
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
