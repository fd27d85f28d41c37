/** Editors of files: chosen, dropped, pasted, or named by a URL. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { accepts, bytesIn, dataUrl, isUrl, MAX_FILE, medium, mediumAt, nameOf, size, splitDataUrl } from "../files.ts";
import type { Json } from "../json.ts";
import { Medium } from "../response/media.tsx";
import type { Editor } from "./field.tsx";

export function FileBox(props: Editor) {
  const { value, onValue } = props;
  const current = typeof value === "string" ? value : "";
  return (
    <Drop {...props} several={false} onUrls={([url]) => url !== undefined && onValue(url)}>
      {current.startsWith("data:") ? (
        <Chosen url={current} onRemove={() => onValue(undefined)} />
      ) : (
        <UrlBox {...props} current={current} onUrl={onValue} />
      )}
    </Drop>
  );
}

export function FilesBox(props: Editor) {
  const { value, onValue, field } = props;
  const urls = Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
  const change = (next: string[]) => onValue(next.length > 0 || field.required ? (next as Json[]) : undefined);
  const [typed, setTyped] = useState("");
  const add = () => {
    if (typed.trim() === "") return;
    change([...urls, typed.trim()]);
    setTyped("");
  };
  return (
    <Drop {...props} several onUrls={(more) => change([...urls, ...more])}>
      {urls.length > 0 ? (
        <ol class="chosen-files">
          {urls.map((url, index) => (
            <li key={index}>
              <Chosen url={url} onRemove={() => change(urls.filter((_, at) => at !== index))} />
            </li>
          ))}
        </ol>
      ) : null}
      <div class="url-row">
        <input
          type="url"
          placeholder="https://…"
          aria-label={`URL of another file for ${field.name}`}
          value={typed}
          onInput={(event) => setTyped((event.currentTarget as HTMLInputElement).value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
              event.preventDefault();
              add();
            }
          }}
        />
        <button type="button" class="quiet" onClick={add}>
          Add URL
        </button>
      </div>
    </Drop>
  );
}

function UrlBox(props: Editor & { current: string; onUrl: (url: string | undefined) => void }) {
  const { field, current, onUrl, describedBy, invalid } = props;
  const kind = isUrl(current) ? mediumAt(current) : "other";
  return (
    <>
      <input
        type="url"
        placeholder="https://…"
        aria-label={`URL of ${field.name}`}
        aria-describedby={describedBy}
        aria-invalid={invalid}
        value={current}
        onInput={(event) => onUrl((event.currentTarget as HTMLInputElement).value.trim() || undefined)}
      />
      {kind === "other" ? null : (
        <div class="preview">
          <Medium kind={kind} source={current} name={field.name} />
        </div>
      )}
    </>
  );
}

function Chosen({ url, onRemove }: { url: string; onRemove: () => void }) {
  const data = splitDataUrl(url);
  const name = nameOf(url) ?? (data ? data.type : url);
  const kind = data ? medium(data.type) : mediumAt(url);
  return (
    <div class="chosen">
      {kind === "image" || kind === "audio" || kind === "video" ? (
        <div class="preview">
          <Medium kind={kind} source={url} name={name} />
        </div>
      ) : null}
      <p>
        <span class="name">{name}</span>
        {data ? <span class="dim">{size(bytesIn(data))}</span> : null}
        <button type="button" class="quiet small" onClick={onRemove} aria-label={`Remove ${name}`}>
          Remove
        </button>
      </p>
    </div>
  );
}

/** The latest file fields on the page, for what is pasted outside of one. */
const pasteTargets: ((files: File[]) => void)[] = [];

function Drop(props: Editor & { several: boolean; onUrls: (urls: string[]) => void; children: ComponentChildren }) {
  const { id, field, several, describedBy, invalid, onUrls, children } = props;
  const [isOver, setOver] = useState(false);
  const [problem, setProblem] = useState("");
  const box = useRef<HTMLDivElement>(null);
  const take = async (files: File[]) => {
    setProblem("");
    const taken = several ? files : files.slice(0, 1);
    const wrong = taken.find((file) => !accepts(field.accept, file));
    if (wrong) {
      setProblem(`${wrong.name} is ${wrong.type || "of an unknown type"}; this input takes ${field.accept}`);
      return;
    }
    try {
      onUrls(await Promise.all(taken.map(dataUrl)));
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  usePaste(box, take);
  return (
    <div
      ref={box}
      class={`drop${isOver ? " over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        take([...(event.dataTransfer?.files ?? [])]);
      }}
    >
      <p class="pick">
        <span class="button">
          <input
            id={id}
            type="file"
            multiple={several}
            accept={field.accept}
            aria-describedby={describedBy}
            aria-invalid={invalid}
            onChange={(event) => {
              const input = event.currentTarget as HTMLInputElement;
              take([...(input.files ?? [])]);
              // The same file may be chosen again.
              input.value = "";
            }}
          />
          <span aria-hidden="true">{several ? "Choose files" : "Choose a file"}</span>
        </span>
        <span class="dim">
          or drop or paste {several ? "them" : "it"} here, up to {MAX_FILE >> 20} MiB, or give a URL
        </span>
      </p>
      {children}
      {problem ? (
        <p class="problems" role="alert">
          {problem}
        </p>
      ) : null}
    </div>
  );
}

/** What is pasted while the field, or nothing, has the focus. */
function usePaste(box: { current: HTMLElement | null }, take: (files: File[]) => void): void {
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    const ours = (files: File[]) => latest.current(files);
    pasteTargets.push(ours);
    const pasted = (event: ClipboardEvent) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length === 0) return;
      const focused = document.activeElement;
      const isHere = box.current?.contains(focused) === true;
      const isNowhere = !focused || focused === document.body || focused.closest(".drop") === null;
      if (isHere || (isNowhere && pasteTargets[0] === ours)) {
        event.preventDefault();
        ours(files);
      }
    };
    document.addEventListener("paste", pasted);
    return () => {
      document.removeEventListener("paste", pasted);
      pasteTargets.splice(pasteTargets.indexOf(ours), 1);
    };
  }, []);
}
