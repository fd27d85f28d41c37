/** An editor of objects, lists, and values that may be of several types: as JSON. */

import { useState } from "preact/hooks";
import { type Json, parsed, pretty } from "../json.ts";
import type { Editor } from "./field.tsx";

export function JsonBox({ id, describedBy, invalid, field, value, onValue, onUnfinished }: Editor) {
  const [typed, setTyped] = useState<{ text: string; value: Json | undefined } | undefined>();
  const [broken, setBroken] = useState(false);
  const given = value ?? field.default ?? undefined;
  const text = typed && same(typed.value, value) ? typed.text : pretty(given);
  const takesText = / or |^any/.test(field.type) && /text|any/.test(field.type);
  const change = (event: Event) => {
    const text = (event.currentTarget as HTMLTextAreaElement).value;
    let next = parsed(text);
    // Where text is a value, too, quotes need not be typed.
    if (next === undefined && takesText && text !== "") next = text;
    const isBroken = next === undefined && text.trim() !== "";
    setTyped({ text, value: next });
    setBroken(isBroken);
    onUnfinished(isBroken ? "this is not JSON" : undefined);
    onValue(next);
  };
  const example = field.type.startsWith("list") ? "[]" : field.type === "object" ? "{}" : "";
  return (
    <textarea
      id={id}
      class="code"
      aria-describedby={describedBy}
      aria-invalid={invalid || broken}
      aria-required={field.required}
      rows={Math.min(12, Math.max(2, text.split("\n").length))}
      value={text}
      placeholder={example}
      spellcheck={false}
      onInput={change}
    />
  );
}

function same(one: Json | undefined, other: Json | undefined): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}
