/** Small parts that are used everywhere. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { own } from "./json.ts";

export interface Tab<Name extends string> {
  name: Name;
  label: string;
  /** A word or number beside the label. */
  note?: string;
}

/** Tabs as the ARIA practices have them: one stop for the Tab key, arrows between them. */
export function Tabs<Name extends string>(props: {
  label: string;
  tabs: Tab<Name>[];
  active: Name;
  onSelect: (name: Name) => void;
  children: ComponentChildren;
}) {
  const { label, tabs, active, onSelect, children } = props;
  const prefix = label.toLowerCase().replaceAll(" ", "-");
  const list = useRef<HTMLDivElement>(null);
  const move = (event: KeyboardEvent) => {
    const at = tabs.findIndex((tab) => tab.name === active);
    const steps: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    const step = own(steps, event.key);
    if (step === undefined) return;
    event.preventDefault();
    const next = tabs[(step + tabs.length) % tabs.length];
    if (!next) return;
    onSelect(next.name);
    list.current?.querySelector<HTMLElement>(`#${prefix}-tab-${next.name}`)?.focus();
  };
  return (
    <div class="tabs">
      <div class="tab-list" role="tablist" aria-label={label} ref={list} onKeyDown={move}>
        {tabs.map((tab) => (
          <button
            key={tab.name}
            type="button"
            role="tab"
            id={`${prefix}-tab-${tab.name}`}
            aria-controls={`${prefix}-panel`}
            aria-selected={tab.name === active}
            tabIndex={tab.name === active ? 0 : -1}
            onClick={() => onSelect(tab.name)}
          >
            {tab.label}
            {tab.note ? <span class="note">{tab.note}</span> : null}
          </button>
        ))}
      </div>
      <div class="tab-panel" role="tabpanel" id={`${prefix}-panel`} aria-labelledby={`${prefix}-tab-${active}`} tabIndex={0}>
        {children}
      </div>
    </div>
  );
}

export function CopyButton({ text, what }: { text: () => string; what: string }) {
  const [said, setSaid] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      setSaid("Copied");
    } catch {
      setSaid("The browser does not allow it");
    }
  };
  useEffect(() => {
    const timer = setTimeout(() => setSaid(""), 2000);
    return () => clearTimeout(timer);
  }, [said]);
  return (
    <button type="button" class="quiet small" onClick={copy}>
      {said || "Copy"}
      {said ? null : <span class="visually-hidden"> {what}</span>}
    </button>
  );
}

/** Text with a button that copies it; it scrolls, and can be reached with the keyboard to do so. */
export function Block(props: { what: string; text: string; copied?: () => string; children?: ComponentChildren }) {
  const { what, text, copied, children } = props;
  return (
    <div class="block">
      <CopyButton what={what} text={copied ?? (() => text)} />
      <pre tabIndex={0} role="region" aria-label={what}>
        {children ?? text}
      </pre>
    </div>
  );
}

const TONES: Record<string, string> = {
  READY: "good",
  BUSY: "busy",
  STARTING: "busy",
  succeeded: "good",
  sending: "busy",
  starting: "busy",
  processing: "busy",
  canceled: "dull",
  connecting: "dull",
};

export function Badge({ status }: { status: string }) {
  return <span class={`badge ${own(TONES, status) ?? "bad"}`}>{status}</span>;
}

/** What somebody who does not see the page is told when it changes. */
export function Announcement({ text }: { text: string }) {
  return (
    <p class="visually-hidden" role="status" aria-live="polite">
      {text}
    </p>
  );
}
