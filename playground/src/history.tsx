/** Earlier predictions of this page, to look at again or to start from. */

import type { Run } from "./run.ts";
import { nameOf } from "./files.ts";
import { abridged, type Json } from "./json.ts";
import { clock, duration } from "./text.ts";
import { Badge } from "./ui.tsx";

const MOST = 20;
const MOST_WEIGHT = 96 << 20;

/** The newest first; what was long ago, or is too large to be kept, is forgotten. */
export function remembered(runs: Run[], run: Run): Run[] {
  const all = [run, ...runs.filter((one) => one !== run)].slice(0, MOST);
  let sum = 0;
  return all.filter((one, index) => {
    sum += one.weight;
    return index === 0 || sum <= MOST_WEIGHT;
  });
}

export function History(props: {
  runs: Run[];
  shown: Run | undefined;
  onShow: (run: Run) => void;
  onTake: (run: Run) => void;
  onClear: () => void;
}) {
  const { runs, shown, onShow, onTake, onClear } = props;
  if (runs.length === 0) return null;
  return (
    <section class="panel history" aria-labelledby="history-title">
      <header>
        <h2 id="history-title">History</h2>
        <button type="button" class="quiet small" onClick={onClear}>
          Clear
        </button>
      </header>
      <ul>
        {runs.map((run) => {
          const time = clock(run.started);
          return (
            <li key={run.started.getTime()}>
              <button type="button" class="row" aria-pressed={run === shown} onClick={() => onShow(run)}>
                <span class="at">{time}</span>
                <Badge status={run.status} />
                <span class="at">{duration(run.elapsed)}</span>
                <span class="inputs">{summary(run)}</span>
              </button>
              <button type="button" class="quiet small" onClick={() => onTake(run)} aria-label={`Use inputs of ${time}`}>
                Use inputs
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function summary(run: Run): string {
  const shown = (value: Json) => {
    const file = typeof value === "string" && value.startsWith("data:") ? (nameOf(value) ?? "a file") : undefined;
    return file ?? JSON.stringify(abridged(value, 60));
  };
  const inputs = Object.entries(run.options.input).map(([name, value]) => `${name}: ${shown(value)}`);
  return inputs.join(", ").slice(0, 200) || "no inputs";
}
