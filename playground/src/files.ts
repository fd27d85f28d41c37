/** Files that inputs have: read to data URLs, with the names that they had. */

import { own } from "./json.ts";

/** Larger ones are given as a URL. */
export const MAX_FILE = 16 << 20;

/** Names by data URL: a URL says of which type a file is, not what it is called. */
const names = new Map<string, string>();
/** Text of files that may be remembered. */
const MAX_REMEMBERED = 32;

export async function dataUrl(file: File): Promise<string> {
  if (file.size > MAX_FILE) {
    throw new Error(`${file.name} has ${size(file.size)}; at most ${MAX_FILE >> 20} MiB can be sent from here, else give a URL`);
  }
  const url = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(String(reader.result)));
    reader.addEventListener("error", () => reject(new Error(`${file.name} cannot be read`)));
    reader.readAsDataURL(file);
  });
  // Without a type a browser writes `data:;base64,`, or nothing before the comma at all.
  const typed = url.replace(/^data:(;base64)?,/, "data:application/octet-stream;base64,");
  names.set(typed, file.name);
  for (const oldest of names.keys()) {
    if (names.size <= MAX_REMEMBERED) break;
    names.delete(oldest);
  }
  return typed;
}

/** The name of a file that was chosen on this page. */
export function chosenName(url: string): string | undefined {
  return names.get(url);
}

export function nameOf(url: string): string | undefined {
  return chosenName(url) ?? nameIn(url);
}

/** Whether a file is what a field takes; browsers ask for it in their pickers, and not when one is dropped. */
export function accepts(accept: string, file: { name: string; type: string }): boolean {
  const wanted = accept
    .split(",")
    .map((one) => one.trim().toLowerCase())
    .filter((one) => one !== "");
  if (wanted.length === 0) return true;
  const name = file.name.toLowerCase();
  const type = file.type.toLowerCase();
  return wanted.some((one) => {
    if (one.startsWith(".")) return name.endsWith(one);
    if (one === "*/*" || one === "*") return true;
    return one.endsWith("/*") ? type.startsWith(one.slice(0, -1)) : type === one;
  });
}

export interface DataUrl {
  type: string;
  name: string | undefined;
  isBase64: boolean;
  data: string;
}

export function splitDataUrl(url: string): DataUrl | undefined {
  if (!url.startsWith("data:")) return undefined;
  const comma = url.indexOf(",");
  if (comma < 0 || comma > 2000) return undefined;
  const parts = url.slice(5, comma).split(";");
  return {
    type: (parts[0] || "text/plain").toLowerCase(),
    name: nameIn(url),
    isBase64: parts.includes("base64"),
    data: url.slice(comma + 1),
  };
}

function nameIn(url: string): string | undefined {
  const head = url.slice(0, Math.min(Math.max(url.indexOf(","), 0), 2000));
  const encoded = /;name=([^;,]+)/.exec(head)?.[1];
  try {
    return encoded === undefined ? undefined : decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/** How many bytes a data URL stands for. */
export function bytesIn(url: DataUrl): number {
  if (!url.isBase64) return url.data.length;
  const padding = url.data.endsWith("==") ? 2 : url.data.endsWith("=") ? 1 : 0;
  return Math.max(0, Math.floor((url.data.length * 3) / 4) - padding);
}

/** What a data URL stands for, or the beginning of it; nothing if it is broken. Escapes that are none are as they stand. */
export function content(url: DataUrl, most = Number.POSITIVE_INFINITY): Uint8Array<ArrayBuffer> | undefined {
  // Some escape characters of base64, and some break its lines.
  const taken = url.data.slice(0, 12 * most);
  const bytes = taken.includes("%") || !url.isBase64 ? unescaped(taken) : undefined;
  if (!url.isBase64) return bytes?.slice(0, most);
  const base64 = (bytes ? new TextDecoder().decode(bytes) : taken).replace(/\s+/g, "");
  const isWhole = taken.length === url.data.length;
  try {
    return Uint8Array.from(atob(isWhole ? base64 : base64.slice(0, base64.length & ~3)), (one) => one.charCodeAt(0)).slice(0, most);
  } catch {
    return undefined;
  }
}

function unescaped(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(text);
  let end = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const escape = bytes[at] === 0x25 ? /^[0-9a-f]{2}$/i.exec(String.fromCharCode(...bytes.subarray(at + 1, at + 3))) : null;
    bytes[end] = escape ? Number.parseInt(escape[0], 16) : (bytes[at] ?? 0);
    end += 1;
    if (escape) at += 2;
  }
  return bytes.slice(0, end);
}

/** The beginning of a data URL's text; nothing if it is broken. */
export function textIn(url: DataUrl, most: number): string | undefined {
  // No character has more bytes.
  const bytes = content(url, 4 * most);
  if (!bytes) return undefined;
  const text = new TextDecoder().decode(bytes);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

export function blob(url: DataUrl): Blob | undefined {
  const bytes = content(url);
  return bytes && new Blob([bytes], { type: url.type });
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ["KB", "MB", "GB"];
  let value = bytes;
  let unit = -1;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const EXTENSIONS: Record<string, string> = {
  "image/jpeg": "jpg",
  "image/svg+xml": "svg",
  "audio/mpeg": "mp3",
  "audio/x-wav": "wav",
  "audio/ogg": "oga",
  "text/plain": "txt",
  "text/markdown": "md",
  "text/javascript": "js",
  "application/gzip": "gz",
  "application/octet-stream": "bin",
  "model/gltf-binary": "glb",
};

/** What a file that has no name is saved as. */
export function fileName(url: DataUrl, stem: string): string {
  if (url.name) return url.name;
  const known = own(EXTENSIONS, url.type) ?? url.type.split("/")[1]?.replace(/^x-/, "");
  return `${stem}.${known && /^[a-z0-9]+$/.test(known) ? known : "bin"}`;
}

export type Medium = "image" | "audio" | "video" | "text" | "other";

export function medium(type: string): Medium {
  const [family = ""] = type.split("/");
  if (family === "image" || family === "audio" || family === "video") return family;
  return family === "text" || type === "application/json" ? "text" : "other";
}

const MEDIA_EXTENSIONS: Record<string, Medium> = Object.fromEntries([
  ...["png", "jpg", "jpeg", "gif", "webp", "svg", "avif", "bmp"].map((one) => [one, "image"] as const),
  ...["mp3", "wav", "ogg", "oga", "flac", "m4a", "opus", "aac"].map((one) => [one, "audio"] as const),
  ...["mp4", "webm", "mov", "m4v", "ogv"].map((one) => [one, "video"] as const),
]);

/** What is at a URL, by its name. */
export function mediumAt(url: string): Medium {
  const extension = /\.([a-z0-9]+)(?:[?#].*)?$/i.exec(url)?.[1]?.toLowerCase() ?? "";
  return own(MEDIA_EXTENSIONS, extension) ?? "other";
}

export function isUrl(text: string): boolean {
  return /^https?:\/\/\S+$/i.test(text);
}
