/** The top of the page: which server, how it is, how the page looks. */

import { useState } from "preact/hooks";
import { type Health, isOwn } from "./api.ts";
import { Guard } from "./guard.tsx";
import type { JsonObject } from "./json.ts";
import { duration, plain } from "./text.ts";
import { Badge, Block } from "./ui.tsx";

export interface HeaderProps {
  target: string;
  health: Health | undefined;
  status: string;
  cogVersion: string;
  document: JsonObject | undefined;
  onConnect: (target: string) => void;
}

export function Header(props: HeaderProps) {
  const { target, status, document, onConnect } = props;
  const [typed, setTyped] = useState(target);
  const connect = (event: Event) => {
    event.preventDefault();
    onConnect(typed.trim().replace(/\/+$/, ""));
  };
  return (
    <header class="top">
      <h1>
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <circle cx="16" cy="16" r="7" />
        </svg>
        Cog Playground
      </h1>
      <form class="connect" onSubmit={connect} hidden={isOwn()}>
        <label for="target" class="visually-hidden">
          URL of the model’s server
        </label>
        <input id="target" type="url" value={typed} required spellcheck={false} onInput={(event) => setTyped((event.currentTarget as HTMLInputElement).value)} />
        <button type="submit" class="quiet">
          Connect
        </button>
      </form>
      <Badge status={status} />
      <nav aria-label="Page">
        <button type="button" class="quiet" disabled={!document} onClick={() => document && open(document)}>
          Schema
        </button>
        <Theme />
      </nav>
      <Guard what="The server" of={props.health}>
        <About {...props} />
      </Guard>
    </header>
  );
}

/** A tab of the browser cannot be sent where a header has to say which server is meant. */
function open(document: JsonObject): void {
  const url = URL.createObjectURL(new Blob([JSON.stringify(document, null, 2)], { type: "application/json" }));
  window.open(url, "_blank", "noopener");
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function About({ health, cogVersion }: HeaderProps) {
  const { version, setup } = health ?? {};
  const versions: [string, string | undefined][] = [
    ["cog", cogVersion || undefined],
    ["coglet", version?.coglet],
    ["SDK", version?.python_sdk ?? version?.cog],
    ["Python", version?.python],
  ];
  const took = setup?.started_at && setup.completed_at ? Date.parse(setup.completed_at) - Date.parse(setup.started_at) : undefined;
  return (
    <div class="about-server">
      <span class="versions">
        {versions.map(([name, number]) => (number ? <span key={name}>{`${name} ${number}`}</span> : null))}
      </span>
      {setup ? (
        <details open={setup.status === "failed"}>
          <summary>
            Setup {setup.status}
            {took === undefined ? "" : ` in ${duration(took)}`}
          </summary>
          {setup.logs ? <Block what="Setup logs" text={plain(setup.logs)} /> : <p class="dim">It has printed nothing.</p>}
        </details>
      ) : null}
      {health?.user_healthcheck_error ? <p class="problems">{health.user_healthcheck_error}</p> : null}
    </div>
  );
}

const THEME = "cog-playground-theme";

/** Called before anything is drawn. */
export function restoreTheme(): void {
  const theme = read();
  if (theme) document.documentElement.dataset.theme = theme;
}

function read(): string | undefined {
  try {
    const theme = localStorage.getItem(THEME);
    return theme === "light" || theme === "dark" ? theme : undefined;
  } catch {
    // A browser may have no store for this page.
    return undefined;
  }
}

function Theme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const [theme, setTheme] = useState(read() ?? system);
  const other = theme === "dark" ? "light" : "dark";
  const change = () => {
    setTheme(other);
    document.documentElement.dataset.theme = other;
    try {
      localStorage.setItem(THEME, other);
    } catch {
      // Then it lasts as long as the page.
    }
  };
  return (
    <button type="button" class="quiet" onClick={change} aria-label={`Switch to ${other} colours`}>
      {other === "dark" ? "Dark" : "Light"}
    </button>
  );
}
