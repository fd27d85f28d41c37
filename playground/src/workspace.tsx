/** A model with its form, the prediction that is looked at, and earlier ones. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { check } from "./checker.ts";
import { endpoints as endpointsOf } from "./document.ts";
import { fieldId } from "./form/field.tsx";
import { beginning, Form } from "./form/form.tsx";
import { Guard } from "./guard.tsx";
import { History, remembered } from "./history.tsx";
import { type JsonObject, own } from "./json.ts";
import { Response } from "./response/response.tsx";
import { type Mode, Run } from "./run.ts";
import { encoded } from "./text.ts";
import { Toolbar, WEBHOOK_EVENTS } from "./toolbar.tsx";
import { Announcement } from "./ui.tsx";
import type { Problem } from "./validate.ts";

export function Workspace(props: { target: string; webhookBase: string; document: JsonObject }) {
  const { target, webhookBase, document } = props;
  const endpoints = useMemo(() => endpointsOf(document), [document]);
  const [at, setAt] = useState(0);
  const endpoint = endpoints[at] ?? endpoints[0];
  const [chosenMode, setMode] = useState<Mode | undefined>();
  const [id, setId] = useState("");
  const [webhookEvents, setWebhookEvents] = useState(WEBHOOK_EVENTS);
  const [input, setInput] = useState<JsonObject>(beginning);
  const [generation, setGeneration] = useState(0);
  const [unfinished, setUnfinished] = useState<Record<string, string>>({});
  const [problems, setProblems] = useState<Problem[]>([]);
  const [run, setRun] = useState<Run | undefined>();
  const [shown, setShown] = useState<Run | undefined>();
  const [history, setHistory] = useState<Run[]>([]);
  const [, redraw] = useState(0);
  const summary = useRef<HTMLDivElement>(null);
  const results = useRef<HTMLDivElement>(null);
  const isRunning = run !== undefined && !run.ended;

  // The time that a prediction takes is shown while it runs.
  useEffect(() => {
    if (!isRunning) return;
    const timer = setInterval(() => redraw((count) => count + 1), 200);
    return () => clearInterval(timer);
  }, [isRunning]);

  if (!endpoint) return <p class="panel empty">The model’s document has no predictions: there is nothing to run.</p>;
  const modes: Mode[] = ["sync", ...(endpoint.streams ? ["stream" as const] : []), ...(endpoint.cancels ? ["async" as const] : [])];
  const mode = chosenMode && modes.includes(chosenMode) ? chosenMode : endpoint.streams ? "stream" : "sync";

  const fill = (next: JsonObject) => {
    setInput(next);
    setUnfinished({});
    setProblems([]);
    setGeneration((count) => count + 1);
  };
  const change = (next: JsonObject) => {
    setInput(next);
    setProblems((old) => old.filter(({ path: [name = ""] }) => own(input, name) === own(next, name)));
  };
  const tellUnfinished = (name: string, why: string | undefined) =>
    setUnfinished(({ [name]: _old, ...rest }) => (why === undefined ? rest : { ...rest, [name]: why }));

  const start = async () => {
    if (isRunning) return;
    const halves = Object.entries(unfinished).map(([name, message]) => ({ path: [name], message }));
    const found = halves.length > 0 ? halves : ((await check(document, endpoint, input)) ?? []);
    setProblems(found);
    if (found.length > 0) {
      summary.current?.focus();
      return;
    }
    const options = { target, webhookBase, endpoint, mode, id, input, webhookEvents };
    const next = new Run(options, () => redraw((count) => count + 1));
    setRun(next);
    setShown(next);
    if (matchMedia("(max-width: 58rem)").matches) results.current?.scrollIntoView({ block: "start" });
    await next.go();
    if (next.problems.length > 0) setProblems(next.problems);
    setHistory((runs) => remembered(runs, next));
  };
  const latestStart = useRef(start);
  latestStart.current = start;
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        latestStart.current();
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);

  const take = (from: Run) => fill(from.options.input);
  const reset = () => {
    fill(beginning());
    setId("");
    if (!isRunning) setShown(undefined);
  };
  const selectEndpoint = (index: number) => {
    setAt(index);
    fill(beginning());
    setShown(undefined);
  };
  const request = {
    target,
    path: id ? `${endpoint.path}/${encoded(id)}` : endpoint.path,
    method: id ? ("PUT" as const) : ("POST" as const),
    mode,
    input,
  };
  return (
    <main class="workspace">
      <section class="panel input" aria-label="Input">
        <div class={`summary-of-problems${problems.length > 0 ? "" : " visually-hidden"}`} ref={summary} tabIndex={-1} role="group" aria-label="Problems">
          <Problems problems={problems} />
        </div>
        <Guard what="The form" of={generation}>
          <Form endpoint={endpoint} input={input} problems={problems} generation={generation} onInput={change} onUnfinished={tellUnfinished} />
        </Guard>
        <Toolbar
          {...{ endpoints, endpoint, modes, mode, id }}
          webhookEvents={webhookBase ? webhookEvents : undefined}
          onEndpoint={selectEndpoint}
          onMode={setMode}
          onId={setId}
          onWebhookEvents={setWebhookEvents}
          running={isRunning}
          onRun={start}
          onStop={() => run?.stop()}
          onReset={reset}
        />
      </section>
      <div class="results" ref={results}>
        <Guard what="The answer" of={shown}>
          <Response run={shown} endpoint={endpoint} request={request} />
        </Guard>
        <Guard what="The history" of={history}>
          <History runs={history} shown={shown} onShow={setShown} onTake={take} onClear={() => setHistory([])} />
        </Guard>
      </div>
      <Announcement text={run ? `The ${endpoint.noun} is ${run.status}` : ""} />
    </main>
  );
}

function Problems({ problems }: { problems: Problem[] }) {
  if (problems.length === 0) return null;
  return (
    <>
      <strong>{problems.length === 1 ? "One input needs a change" : `${problems.length} inputs need a change`}</strong>
      <ul>
        {problems.slice(0, 20).map(({ path, message }) => (
          <li key={path.join("/") + message}>
            <a href={`#${fieldId(path[0] ?? "")}`} onClick={(event) => goTo(event, path[0] ?? "")}>
              {path.join("/")}
            </a>{" "}
            {message}
          </li>
        ))}
      </ul>
    </>
  );
}

function goTo(event: Event, name: string): void {
  event.preventDefault();
  const field = document.getElementById(fieldId(name)) ?? document.getElementById("json-input");
  field?.focus();
  field?.scrollIntoView({ block: "center" });
}
