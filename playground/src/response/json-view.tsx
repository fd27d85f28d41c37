import { useMemo } from "preact/hooks";
import { Block } from "../ui.tsx";
import { abridged, type Json, pretty } from "../json.ts";

/** Longer ones are shown without colours. */
const MAX_COLOURED = 100_000;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** A value as JSON: long texts are cut where it is shown, and whole where it is copied. */
export function JsonView({ value, what }: { value: Json; what: string }) {
  // Made once: the page is drawn anew with every key that is pressed in the form.
  const shown = useMemo(() => {
    const text = pretty(abridged(value));
    return { text, content: text.length > MAX_COLOURED ? text : coloured(text) };
  }, [value]);
  return (
    <Block what={what} text={shown.text} copied={() => pretty(value)}>
      {shown.content}
    </Block>
  );
}

function coloured(text: string) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    const [whole, quoted, colon, word] = match;
    parts.push(text.slice(end, match.index));
    const kind = colon ? "key" : quoted ? "string" : word ? "word" : "number";
    parts.push(<span class={`json-${kind}`}>{quoted ?? whole}</span>, colon ?? "");
    end = match.index + whole.length;
  }
  parts.push(text.slice(end));
  return parts;
}
