/** The right half of the page: a prediction, from several sides. */

import { useMemo, useState } from "preact/hooks";
import type { Endpoint } from "../document.ts";
import { Guard } from "../guard.tsx";
import { isObject } from "../json.ts";
import type { Run } from "../run.ts";
import { plain, duration } from "../text.ts";
import { type Tab, Badge, Block, Tabs } from "../ui.tsx";
import { Code } from "./code.tsx";
import { JsonView } from "./json-view.tsx";
import { Output } from "./output.tsx";
import type { Request } from "../snippets.ts";

export type View = "output" | "raw" | "logs" | "timeline" | "request" | "code";

export function Response(props: { run: Run | undefined; endpoint: Endpoint; request: Request }) {
  const { run, endpoint, request } = props;
  const [chosen, choose] = useState<View>("output");
  const logs = run?.logs.text ?? "";
  const tabs: Tab<View>[] = [
    { name: "output", label: "Output" },
    ...(run ? [{ name: "raw", label: "Raw" } as const] : []),
    ...(logs ? [{ name: "logs", label: "Logs", note: lines(logs) } as const] : []),
    ...(run ? [{ name: "timeline", label: "Timeline" } as const, { name: "request", label: "Request" } as const] : []),
    { name: "code", label: "Code" },
  ];
  const view = tabs.some((tab) => tab.name === chosen) ? chosen : "output";
  return (
    <section class="panel response" aria-label="Response">
      {run ? <Summary run={run} /> : null}
      <Tabs label="Response views" tabs={tabs} active={view} onSelect={choose}>
        <Guard key={view} what={view === "code" ? "The code" : "This view of the answer"} of={view === "code" ? request.input : run}>
          {view === "code" ? <Code request={request} /> : run ? <Side run={run} view={view} endpoint={endpoint} /> : <Empty endpoint={endpoint} />}
        </Guard>
      </Tabs>
    </section>
  );
}

function Empty({ endpoint }: { endpoint: Endpoint }) {
  return (
    <p class="empty">
      The {endpoint.noun}’s output appears here. Fill in the form and run it, with the button or Ctrl+Enter.
    </p>
  );
}

function Summary({ run }: { run: Run }) {
  return (
    <p class="summary">
      <Badge status={run.status} />
      <span>{duration(run.elapsed)}</span>
      {run.answer ? <span>HTTP {run.answer.status}</span> : null}
      {run.id ? <code>{run.id}</code> : null}
    </p>
  );
}

function Side({ run, view, endpoint }: { run: Run; view: View; endpoint: Endpoint }) {
  switch (view) {
    case "raw":
      return <Raw run={run} />;
    case "logs":
      return <Logs run={run} />;
    case "timeline":
      return <Timeline run={run} />;
    case "request":
      return <Exchange run={run} />;
    default:
      return <Output run={run} schema={endpoint.output} />;
  }
}

function Raw({ run }: { run: Run }) {
  // It changes while the prediction runs, and not after that.
  const value = useMemo(() => raw(run), [run, run.took ?? performance.now()]);
  return <JsonView value={value} what="Prediction" />;
}

function raw(run: Run) {
  const body = run.answer?.body;
  if (run.options.mode === "sync" && isObject(body)) return body;
  return {
    ...(run.id ? { id: run.id } : {}),
    status: run.status,
    output: run.output ?? run.chunks.items.slice(-1000),
    ...(run.error ? { error: run.error } : {}),
    logs: run.logs.text,
    metrics: run.metrics,
  };
}

/** How many lines a text has, or that it has many: it may be looked at many times a second. */
function lines(text: string): string {
  return text.length > 200_000 ? "many" : String(text.trimEnd().split("\n").length);
}

function Logs({ run }: { run: Run }) {
  const text = plain(run.logs.text);
  return (
    <>
      {run.logs.dropped > 0 ? <p class="dim">The first {run.logs.dropped.toLocaleString("en")} characters are not shown.</p> : null}
      <Block what="Logs" text={text} />
    </>
  );
}

function Timeline({ run }: { run: Run }) {
  const { items, dropped } = run.moments;
  return (
    <>
      {dropped > 0 ? <p class="dim">{dropped} earlier events are not shown.</p> : null}
      <ol class="timeline">
        {items.map((moment, index) => (
          <li key={dropped + index}>
            <span class="at">{duration(moment.at)}</span>
            {moment.detail === undefined || typeof moment.detail !== "object" ? (
              <span>
                <strong>{moment.name}</strong> {moment.detail === undefined ? "" : String(moment.detail)}
              </span>
            ) : (
              <details>
                <summary>
                  <strong>{moment.name}</strong>
                </summary>
                <JsonView value={moment.detail} what={moment.name} />
              </details>
            )}
          </li>
        ))}
      </ol>
    </>
  );
}

function Exchange({ run }: { run: Run }) {
  const { answer } = run;
  return (
    <>
      <h2>Request</h2>
      <p class="line">
        <code>
          {run.method} {run.options.target}
          {run.path}
        </code>
      </p>
      <Headers headers={run.headers} />
      <JsonView value={run.body} what="Request body" />
      <h2>Answer</h2>
      {answer ? (
        <>
          <p class="line">
            <code>HTTP {answer.status}</code>
          </p>
          <Headers headers={answer.headers} />
          {answer.body === undefined ? null : <JsonView value={answer.body} what="Answer body" />}
        </>
      ) : (
        <p class="dim">None yet.</p>
      )}
    </>
  );
}

function Headers({ headers }: { headers: Record<string, string | string[]> }) {
  return (
    <table class="headers">
      <caption class="visually-hidden">Headers</caption>
      <tbody>
        {Object.entries(headers).map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{Array.isArray(value) ? value.join(", ") : value}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
