/** One input of a model: its name, what is said of it, and what it is edited with. */

import type { ComponentChildren } from "preact";
import type { Field } from "../document.ts";
import type { Json } from "../json.ts";
import { encoded } from "../text.ts";
import type { Problem } from "../validate.ts";
import { Choice, NumberBox, SecretBox, TextBox } from "./boxes.tsx";
import { FileBox, FilesBox } from "./file-box.tsx";
import { JsonBox } from "./json-box.tsx";

export interface FieldProps {
  field: Field;
  /** Nothing if it is left out. */
  value: Json | undefined;
  problems: Problem[];
  onValue: (value: Json | undefined) => void;
  onUnfinished: (why: string | undefined) => void;
}

/** What an editor of a value needs to be one with its label and its explanations. */
export interface Editor extends FieldProps {
  id: string;
  describedBy: string;
  invalid: boolean;
}

export function fieldId(name: string): string {
  return `field-${encoded(name)}`;
}

export function FieldRow(props: FieldProps) {
  const { field, value, problems, onValue, onUnfinished } = props;
  const id = fieldId(field.name);
  const editor: Editor = {
    ...props,
    id,
    describedBy: `${id}-about ${id}-problems`,
    invalid: problems.length > 0,
  };
  const isIncluded = value !== undefined;
  const isOptional = !field.required;
  // A file is there when it was chosen.
  const hasSwitch = isOptional && field.kind !== "file" && field.kind !== "files";
  const include = (event: Event) => {
    onUnfinished(undefined);
    onValue((event.currentTarget as HTMLInputElement).checked ? initial(field) : undefined);
  };
  return (
    <div class={`field${isOptional && !isIncluded ? " left-out" : ""}`} role="group" aria-labelledby={`${id}-label`}>
      <div class="field-head">
        {hasSwitch ? (
          <input type="checkbox" checked={isIncluded} onChange={include} aria-label={`Include ${field.name}`} title="Include" />
        ) : null}
        <label for={id} id={`${id}-label`}>
          {field.name}
          {field.required ? (
            <span class="required" aria-hidden="true">
              {" "}
              *
            </span>
          ) : null}
          {field.required ? <span class="visually-hidden"> (required)</span> : null}
        </label>
        <span class="type">{field.type}</span>
        {field.deprecated ? <span class="tag">deprecated</span> : null}
      </div>
      <About field={field} id={`${id}-about`} />
      <Edit {...editor} />
      <ul class="problems" id={`${id}-problems`}>
        {problems.map(({ path, message }) => (
          <li key={path.join("/") + message}>
            {path.length > 1 ? `${path.slice(1).join("/")}: ` : ""}
            {message}
          </li>
        ))}
      </ul>
    </div>
  );
}

function About({ field, id }: { field: Field; id: string }) {
  const rules = [...field.rules];
  const { default: value } = field;
  if (value !== undefined && value !== null && value !== "") rules.push(`default ${shown(value)}`);
  return (
    <p class="about" id={id}>
      {field.description ? <span>{field.description}</span> : null}
      {rules.map((rule) => (
        <span class="rule" key={rule}>
          {rule}
        </span>
      ))}
    </p>
  );
}

function shown(value: Json): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function Edit(props: Editor): ComponentChildren {
  switch (props.field.kind) {
    case "text":
      return <TextBox {...props} />;
    case "secret":
      return <SecretBox {...props} />;
    case "integer":
    case "number":
      return <NumberBox {...props} />;
    case "boolean":
      return <Choice {...props} choices={[true, false]} />;
    case "choice":
      return <Choice {...props} choices={props.field.choices} />;
    case "file":
      return <FileBox {...props} />;
    case "files":
      return <FilesBox {...props} />;
    case "json":
      return <JsonBox {...props} />;
  }
}

/** What an optional field begins with when it is switched on. */
function initial(field: Field): Json {
  if (field.default !== undefined && field.default !== null) return field.default;
  switch (field.kind) {
    case "integer":
    case "number":
      return field.minimum ?? 0;
    case "boolean":
      return true;
    case "choice":
      return field.choices[0] ?? "";
    case "json":
      return field.type.startsWith("list") ? [] : field.type === "object" ? {} : "";
    case "files":
      return [];
    default:
      return "";
  }
}
