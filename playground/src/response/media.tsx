/** Files in a page: pictures, sound, films, text, and everything else to be saved. */

import { useMemo, useState } from "preact/hooks";
import { blob, bytesIn, type DataUrl, fileName, isUrl, type Medium, medium, mediumAt, size, splitDataUrl, textIn } from "../files.ts";

const MAX_TEXT = 20_000;
const MAX_BROKEN = 2000;

/** A data URL or a URL. */
export function FileView({ url, stem }: { url: string; stem: string }) {
  const data = useMemo(() => splitDataUrl(url), [url]);
  const [broken, setBroken] = useState("");
  if (!data) return isUrl(url) ? <LinkedFile url={url} /> : <Broken url={url} />;
  const name = fileName(data, stem);
  return (
    <figure class="file">
      <Medium kind={medium(data.type)} source={url} name={name} text={() => textIn(data, MAX_TEXT)} />
      <figcaption>
        <span class="name">{name}</span>
        <span class="dim">
          {data.type}, {size(bytesIn(data))}
        </span>
        {broken === url ? (
          <span role="status">is broken: this is not base64</span>
        ) : (
          <button type="button" class="quiet small" onClick={() => save(data, name) || setBroken(url)} aria-label={`Save ${name}`}>
            Save
          </button>
        )}
      </figcaption>
    </figure>
  );
}

/** What was to be a file, and is none. */
function Broken({ url }: { url: string }) {
  return <p class="plain-value">{url.length > MAX_BROKEN ? `${url.slice(0, MAX_BROKEN)}…` : url}</p>;
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

export function Medium(props: { kind: Medium; source: string; name: string; text?: () => string | undefined }) {
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
      return text ? <TextMedium name={name} source={source} text={text} /> : null;
    case "other":
      return null;
  }
}

function TextMedium({ name, source, text }: { name: string; source: string; text: () => string | undefined }) {
  const shown = useMemo(text, [source]);
  if (shown === undefined) return <Broken url={source} />;
  return (
    <pre tabIndex={0} role="region" aria-label={name}>
      {shown}
    </pre>
  );
}

/** Whether there was something to save. */
function save(data: DataUrl, name: string): boolean {
  const content = blob(data);
  if (!content) return false;
  const source = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = source;
  link.download = name.replaceAll(/[/\\]/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(source), 60_000);
  return true;
}
