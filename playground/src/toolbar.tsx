/** How a prediction is asked for, and the buttons that do so. */

import type { Endpoint } from "./document.ts";
import type { Mode } from "./run.ts";

export const MODES: [Mode, string, string][] = [
  ["sync", "Sync", "Waits for the whole result"],
  ["stream", "Stream", "Shows output as it comes"],
  ["async", "Async", "Gets the result by webhooks"],
];

export const WEBHOOK_EVENTS = ["start", "output", "logs"];

export interface ToolbarProps {
  endpoints: Endpoint[];
  endpoint: Endpoint;
  onEndpoint: (index: number) => void;
  modes: Mode[];
  mode: Mode;
  onMode: (mode: Mode) => void;
  id: string;
  onId: (id: string) => void;
  /** Nothing if there are no webhooks. */
  webhookEvents: string[] | undefined;
  onWebhookEvents: (events: string[]) => void;
  running: boolean;
  onRun: () => void;
  onStop: () => void;
  onReset: () => void;
}

export function Toolbar(props: ToolbarProps) {
  const { endpoints, endpoint, onEndpoint, modes, mode, onMode, running, onRun, onStop, onReset } = props;
  return (
    <div class="toolbar">
      {endpoints.length > 1 ? (
        <label class="endpoint">
          Endpoint{" "}
          <select value={String(endpoints.indexOf(endpoint))} onChange={(event) => onEndpoint(Number((event.currentTarget as HTMLSelectElement).value))}>
            {endpoints.map((one, index) => (
              <option key={one.path} value={String(index)}>
                {one.path}
              </option>
            ))}
          </select>
        </label>
      ) : null}
      <div class="toolbar-row">
        {modes.length > 1 ? (
          <fieldset class="choice">
            <legend class="visually-hidden">Mode</legend>
            {MODES.filter(([name]) => modes.includes(name)).map(([name, label, title]) => (
              <label key={name} title={title}>
                <input type="radio" name="mode" checked={mode === name} onChange={() => onMode(name)} />
                <span>{label}</span>
              </label>
            ))}
          </fieldset>
        ) : null}
        <div class="buttons">
          <button type="button" class="quiet" onClick={onReset}>
            Reset
          </button>
          {running ? (
            <button type="button" class="stop" onClick={onStop}>
              Stop
            </button>
          ) : (
            <button type="button" class="run" onClick={onRun} title="Ctrl+Enter">
              Run
            </button>
          )}
        </div>
      </div>
      <Options {...props} />
    </div>
  );
}

function Options({ endpoint, mode, id, onId, webhookEvents, onWebhookEvents }: ToolbarProps) {
  const toggle = (name: string) => () => {
    if (!webhookEvents) return;
    const all = webhookEvents.includes(name) ? webhookEvents.filter((one) => one !== name) : [...webhookEvents, name];
    onWebhookEvents(WEBHOOK_EVENTS.filter((one) => all.includes(one)));
  };
  return (
    <details class="options">
      <summary>Options</summary>
      <label for="prediction-id">ID of the {endpoint.noun} (optional; sends PUT)</label>
      <input id="prediction-id" type="text" autocomplete="off" spellcheck={false} value={id} onInput={(event) => onId((event.currentTarget as HTMLInputElement).value.trim())} />
      {mode === "async" && webhookEvents ? (
        <fieldset class="checks">
          <legend>Webhooks, besides the one at the end</legend>
          {WEBHOOK_EVENTS.map((name) => (
            <label key={name}>
              <input type="checkbox" checked={webhookEvents.includes(name)} onChange={toggle(name)} /> {name}
            </label>
          ))}
        </fieldset>
      ) : null}
    </details>
  );
}
