/** The page. Each tab of the browser is one of its own: nothing but the colours is shared. */

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Config, config as fetchConfig } from "./api.ts";
import { Guard } from "./guard.tsx";
import { Header, restoreTheme } from "./header.tsx";
import { useServer } from "./server.ts";
import { Workspace } from "./workspace.tsx";

function App({ config }: { config: Config }) {
  const [target, setTarget] = useState(config.target);
  const server = useServer(target);
  return (
    <>
      <Header {...server} target={target} cogVersion={config.cogVersion} onConnect={setTarget} />
      {server.document ? (
        <Guard what="The model" of={server.document}>
          <Workspace key={target} target={target} webhookBase={config.webhookBase} document={server.document} />
        </Guard>
      ) : (
        <main class="panel empty" aria-busy="true">
          <p>
            <span class="spinner" aria-hidden="true" />{" "}
            {server.status === "unreachable" ? `${target} does not answer yet.` : `Waiting for the model at ${target}…`}
          </p>
          {server.problem ? <p class="dim">{server.problem}</p> : null}
          {server.health?.status === "SETUP_FAILED" ? <p>The model’s setup has failed; its log is above.</p> : null}
        </main>
      )}
    </>
  );
}

function Start() {
  const [config, setConfig] = useState<Config | undefined>();
  const [problem, setProblem] = useState("");
  useEffect(() => {
    fetchConfig().then(setConfig, (error: unknown) => setProblem(String(error)));
  }, []);
  if (config) return <App config={config} />;
  return <main class="panel empty">{problem || "Loading…"}</main>;
}

restoreTheme();
const root = document.getElementById("app");
if (root) render(<Start />, root);
