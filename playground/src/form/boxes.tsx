/** Editors of plain values. What is left out shows the default, and is included as soon as it is changed. */

import { useState } from "preact/hooks";
import { type Json, worded } from "../json.ts";
import type { Editor } from "./field.tsx";

type Typed = Event & { currentTarget: { value: string } };

function common({ id, describedBy, invalid, field }: Editor) {
  return {
    id,
    "aria-describedby": describedBy,
    "aria-invalid": invalid,
    "aria-required": field.required,
  };
}

export function TextBox(props: Editor) {
  const { field, value, onValue } = props;
  const text = textOf(value ?? field.default);
  const change = (event: Event) => onValue((event as Typed).currentTarget.value);
  return (
    <textarea {...common(props)} rows={Math.min(8, Math.max(2, text.split("\n").length))} value={text} onInput={change} spellcheck={false} />
  );
}

export function SecretBox(props: Editor) {
  const { value, field, onValue } = props;
  const change = (event: Event) => {
    const text = (event as Typed).currentTarget.value;
    onValue(text === "" && !field.required ? undefined : text);
  };
  return <input {...common(props)} type="password" autocomplete="off" value={textOf(value)} onInput={change} />;
}

export function NumberBox(props: Editor) {
  const { field, value, onValue, onUnfinished } = props;
  const given = value ?? field.default;
  // What is typed is not always a number yet.
  const [typed, setTyped] = useState<{ text: string; value: Json | undefined } | undefined>();
  const text = typed && typed.value === value ? typed.text : given === null ? "" : textOf(given);
  const change = (event: Event) => {
    const text = (event as Typed).currentTarget.value;
    const number = Number(text);
    const isNumber = text.trim() !== "" && Number.isFinite(number);
    const isExact = field.kind !== "integer" || Number.isSafeInteger(number) || !Number.isInteger(number);
    const next = isNumber && isExact ? number : undefined;
    setTyped({ text, value: next });
    onUnfinished(why(text, isNumber, isExact));
    onValue(next);
  };
  const { minimum, maximum } = field;
  const step = field.kind === "integer" ? 1 : "any";
  return (
    <div class="number">
      <input {...common(props)} type="text" inputMode={field.kind === "integer" && (minimum ?? -1) >= 0 ? "numeric" : "decimal"} autocomplete="off" value={text} onInput={change} />
      {minimum !== undefined && maximum !== undefined ? (
        <input
          type="range"
          aria-label={`${field.name}, slider`}
          min={minimum}
          max={maximum}
          step={step === 1 ? 1 : (maximum - minimum) / 100}
          value={typeof given === "number" ? given : minimum}
          onInput={change}
        />
      ) : null}
    </div>
  );
}

function why(text: string, isNumber: boolean, isExact: boolean): string | undefined {
  if (text.trim() === "") return undefined;
  if (!isNumber) return `“${text}” is not a number`;
  return isExact ? undefined : "a browser cannot send an integer of this size exactly";
}

export function Choice(props: Editor & { choices: Json[] }) {
  const { field, value, onValue, choices } = props;
  const given = value ?? field.default;
  const at = choices.findIndex((choice) => choice === given);
  const change = (event: Event) => {
    const chosen = (event as Typed).currentTarget.value;
    onValue(chosen === "" ? undefined : choices[Number(chosen)]);
  };
  return (
    <select {...common(props)} value={at < 0 ? "" : String(at)} onChange={change}>
      {at < 0 ? <option value="">Choose…</option> : null}
      {choices.map((choice, index) => (
        <option key={index} value={String(index)}>
          {worded(choice)}
        </option>
      ))}
    </select>
  );
}

function textOf(value: Json | undefined): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
