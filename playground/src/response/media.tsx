/** Files in a page: pictures, sound, films, text, and everything else to be saved. */

import { useMemo, useState } from "preact/hooks";
import { blob, bytesIn, fileName, type Medium, medium, mediumAt, size, splitDataUrl } from "../files.ts";

const MAX_TEXT = 20_000;

/** A data URL or a URL. */
export function FileView({ url, stem }: { url: string; stem: string }) {
  const data = useMemo(() => splitDataUrl(url), [url]);
  if (!data) return <LinkedFile url={url} />;
  const name = fileName(data, stem);
  return (
    <figure class="file">
      <Medium kind={medium(data.type)} source={url} name={name} text={() => textOf(url)} />
      <figcaption>
        <span class="name">{name}</span>
        <span class="dim">
          {data.type}, {size(bytesIn(data))}
        </span>
        <button type="button" class="quiet small" onClick={() => save(url, name)} aria-label={`Save ${name}`}>
          Save
        </button>
      </figcaption>
    </figure>
  );
}

function LinkedFile({ url }: { url: string }) {
  const kind = mediumAt(url);
  const name = url.split(/[?#]/)[0]?.split("/").pop() || url;
  return (
    <figure class="file">
      <Medium kind={kind} source={url} name={name} />
      <figcaption>
        <Link url={url} />
      </figcaption>
    </figure>
  );
}

export function Link({ url }: { url: string }) {
  return (
    <a href={url} target="_blank" rel="noopener noreferrer">
      {url}
    </a>
  );
}

export function Medium(props: { kind: Medium; source: string; name: string; text?: () => string }) {
  const { kind, source, name, text } = props;
  const [failed, setFailed] = useState("");
  if (failed === source) return <p class="dim">{name} cannot be shown here.</p>;
  const onError = () => setFailed(source);
  switch (kind) {
    case "image":
      return <img src={source} alt={name} onError={onError} />;
    case "audio":
      return <audio src={source} controls aria-label={name} onError={onError} />;
    case "video":
      return <video src={source} controls playsInline aria-label={name} onError={onError} />;
    case "text":
      return text ? (
        <pre tabIndex={0} role="region" aria-label={name}>
          {text()}
        </pre>
      ) : null;
    case "other":
      return null;
  }
}

function textOf(url: string): string {
  const data = splitDataUrl(url);
  if (!data) return "";
  const bytes = data.isBase64 ? Uint8Array.from(atob(data.data.slice(0, 4 * MAX_TEXT)), (c) => c.charCodeAt(0)) : undefined;
  const text = bytes ? new TextDecoder().decode(bytes) : decodeURIComponent(data.data);
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

function save(url: string, name: string): void {
  const data = splitDataUrl(url);
  if (!data) return;
  const source = URL.createObjectURL(blob(data));
  const link = document.createElement("a");
  link.href = source;
  link.download = name.replaceAll(/[/\\]/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(source), 60_000);
}
