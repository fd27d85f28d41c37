/** What is known of the model's server, kept up to date. */

import { useEffect, useState } from "preact/hooks";
import { document as fetchDocument, type Health, health as fetchHealth } from "./api.ts";
import type { JsonObject } from "./json.ts";

const POLL_MS = 5000;
const RETRY_MS = 3000;
/** Setup ends at some moment, and somebody waits for it. */
const STARTING_POLL_MS = 1000;

export interface Server {
  status: string;
  health: Health | undefined;
  document: JsonObject | undefined;
  /** Why there is no document. */
  problem: string;
}

const UNKNOWN: Server = { status: "connecting", health: undefined, document: undefined, problem: "" };

export function useServer(target: string): Server {
  const [server, setServer] = useState<{ of: string; server: Server }>({ of: target, server: UNKNOWN });
  // A server that was started anew may have another model.
  const started = server.server.health?.setup?.started_at ?? "";
  useEffect(() => {
    const abort = new AbortController();
    const update = (change: Partial<Server>) =>
      setServer((old) => ({ of: target, server: { ...(old.of === target ? old.server : UNKNOWN), ...change } }));
    repeat(abort.signal, async () => {
      try {
        const health = await fetchHealth(target, abort.signal);
        update({ status: health.status, health });
        return health.status === "STARTING" ? STARTING_POLL_MS : POLL_MS;
      } catch {
        if (!abort.signal.aborted) update({ status: "unreachable", health: undefined });
        return POLL_MS;
      }
    });
    return () => abort.abort();
  }, [target]);
  useEffect(() => {
    const abort = new AbortController();
    const update = (change: Partial<Server>) =>
      setServer((old) => ({ of: target, server: { ...(old.of === target ? old.server : UNKNOWN), ...change } }));
    repeat(abort.signal, async () => {
      try {
        update({ document: await fetchDocument(target, abort.signal), problem: "" });
        return undefined;
      } catch (error) {
        if (!abort.signal.aborted) update({ problem: error instanceof Error ? error.message : String(error) });
        return RETRY_MS;
      }
    });
    return () => abort.abort();
  }, [target, started]);
  return server.of === target ? server.server : UNKNOWN;
}

/** Does something again and again, after the pause that it asks for. */
function repeat(signal: AbortSignal, work: () => Promise<number | undefined>): void {
  const next = async () => {
    const pause = await work();
    if (!signal.aborted && pause !== undefined) timer = setTimeout(next, pause);
  };
  let timer = setTimeout(next, 0);
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
}
