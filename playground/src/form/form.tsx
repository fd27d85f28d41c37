/** A model's inputs as a form, or as JSON: two views of one value. */

import { useState } from "preact/hooks";
import type { Endpoint, Field } from "../document.ts";
import { type Json, type JsonObject, own } from "../json.ts";
import type { Problem } from "../validate.ts";
import { Tabs } from "../ui.tsx";
import { FieldRow } from "./field.tsx";
import { JsonInput } from "./json-input.tsx";

export interface FormProps {
  endpoint: Endpoint;
  input: JsonObject;
  problems: Problem[];
  /** Grows when the form is filled anew: what was half typed is forgotten. */
  generation: number;
  onInput: (input: JsonObject) => void;
  /** What is typed into a field, and is no value; nothing if it is one. */
  onUnfinished: (name: string, why: string | undefined) => void;
}

export function Form(props: FormProps) {
  const { endpoint, input, problems, generation, onInput, onUnfinished } = props;
  const [view, setView] = useState<"form" | "json">("form");
  return (
    <Tabs
      label="Input"
      tabs={[
        { name: "form", label: "Form" },
        { name: "json", label: "JSON" },
      ]}
      active={view}
      onSelect={(next) => {
        // What was typed there and is no JSON goes with the view.
        onUnfinished("", undefined);
        setView(next);
      }}
    >
      {view === "form" ? (
        <Fields {...props} key={generation} />
      ) : (
        <JsonInput
          key={generation}
          value={input}
          onValue={(value) => {
            onUnfinished("", undefined);
            if (value !== undefined) onInput(value);
          }}
          onUnfinished={(why) => onUnfinished("", why)}
          problems={problems}
          noun={endpoint.noun}
        />
      )}
    </Tabs>
  );
}

function Fields({ endpoint, input, problems, onInput, onUnfinished }: FormProps) {
  const change = (field: Field) => (value: Json | undefined) => {
    const { [field.name]: _old, ...rest } = input;
    onInput(value === undefined ? rest : { ...input, [field.name]: value });
  };
  if (endpoint.fields.length === 0) return <p class="dim">This model takes no inputs.</p>;
  return (
    <div class="fields">
      {endpoint.fields.map((field) => (
        <FieldRow
          key={field.name}
          field={field}
          value={own(input, field.name)}
          problems={problems.filter((problem) => problem.path[0] === field.name)}
          onValue={change(field)}
          onUnfinished={(why) => onUnfinished(field.name, why)}
        />
      ))}
    </div>
  );
}

/** What a form begins with: nothing, so that the model's own defaults count. */
export function beginning(): JsonObject {
  return {};
}
