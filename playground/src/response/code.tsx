import { useState } from "preact/hooks";
import { type Language, type Request, snippet } from "../snippets.ts";
import { Block } from "../ui.tsx";

const LANGUAGES: [Language, string][] = [
  ["curl", "curl"],
  ["python", "Python"],
  ["javascript", "JavaScript"],
];

/** The request that the form describes, to be made elsewhere. */
export function Code({ request }: { request: Request }) {
  const [language, choose] = useState<Language>("curl");
  return (
    <>
      <fieldset class="choice">
        <legend>The request of this form in</legend>
        {LANGUAGES.map(([name, label]) => (
          <label key={name}>
            <input type="radio" name="language" checked={language === name} onChange={() => choose(name)} />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
      <Block what={`${language} code`} text={snippet(language, request)} />
    </>
  );
}
