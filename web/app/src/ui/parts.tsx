// Small parts that the pages share.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Presence } from "@parley/client";
import { hue, initials } from "../text.ts";
import { ago } from "../time.ts";
import { dismiss, toasts } from "../toast.ts";
import { Icon, type IconName } from "./icons.tsx";

export function IconButton(p: {
  icon: IconName;
  label: string;
  onClick: (e: MouseEvent) => void;
  testid?: string;
  pressed?: boolean | undefined;
  expanded?: boolean | undefined;
  disabled?: boolean;
  class?: string;
  children?: ComponentChildren;
}): JSX.Element {
  return (
    <button
      type="button"
      class={`icon-button ${p.class ?? ""}`}
      aria-label={p.label}
      title={p.label}
      data-testid={p.testid}
      aria-pressed={p.pressed}
      aria-expanded={p.expanded}
      disabled={p.disabled}
      onClick={p.onClick}
    >
      <Icon name={p.icon} />
      {p.children}
    </button>
  );
}

/** A user, or a group, as a coloured disc; presence shows as a dot on it. */
export function Avatar(p: { name: string; group?: boolean; presence?: Presence | undefined; size?: "small" | "tiny"; dot?: boolean }): JSX.Element {
  const status = p.presence?.status ?? "offline";
  return (
    <span class={`avatar hue-${hue(p.name)} ${p.group ? "group" : ""} ${p.size ?? ""}`} aria-hidden="true">
      {initials(p.name)}
      {p.dot && <span class={`dot ${status}`} />}
    </span>
  );
}

/** How somebody stands, in words. */
export function presenceText(p: Presence | undefined): string {
  if (!p) return "";
  switch (p.status) {
    case "online":
      return "online";
    case "away":
      return "away";
    case "invisible":
      return "invisible";
    default:
      return p.lastSeen ? `last seen ${ago(p.lastSeen)}` : "offline";
  }
}

/** A dialog over the page: Escape and a click beside it close it, and focus goes back where it was. */
export function Dialog(p: { label: string; onClose: () => void; class?: string; testid?: string; children: ComponentChildren }): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  const before = useRef(document.activeElement); // as it is drawn first: what is in it takes the focus
  useEffect(() => {
    const d = ref.current!;
    d.showModal();
    return () => {
      d.close();
      // It is gone from the page by now, and the focus with it.
      if (document.activeElement === document.body) (before.current as HTMLElement | null)?.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={`dialog ${p.class ?? ""}`}
      aria-label={p.label}
      data-testid={p.testid}
      onCancel={(e) => {
        e.preventDefault();
        p.onClose();
      }}
      onClick={(e) => {
        if (e.target === ref.current) p.onClose();
      }}
    >
      <div class="dialog-body">{p.children}</div>
    </dialog>
  );
}

/** Closes what hangs open when Escape is pressed or the focus or a click goes elsewhere. */
export function useDismiss(open: boolean, close: () => void) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const outside = (e: Event) => {
      if (ref.current && e.target instanceof Node && !ref.current.contains(e.target)) close();
    };
    const key = (e: KeyboardEvent) => {
      if (e.key !== "Escape") return;
      e.stopPropagation();
      close();
      ref.current?.querySelector<HTMLElement>("button")?.focus();
    };
    document.addEventListener("pointerdown", outside, true);
    document.addEventListener("keydown", key, true);
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      document.removeEventListener("keydown", key, true);
    };
  }, [open]);
  return ref;
}

/** Moves the focus among the items of a list with the arrow keys. */
export function roving(e: KeyboardEvent, selector: string): void {
  const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[e.key];
  if (step === undefined || e.target instanceof HTMLInputElement || e.target instanceof HTMLTextAreaElement) return;
  const items = [...(e.currentTarget as HTMLElement).querySelectorAll<HTMLElement>(selector)];
  const at = items.findIndex((i) => i === document.activeElement || i.contains(document.activeElement));
  if (at < 0) return;
  e.preventDefault();
  items[Math.min(Math.max(at + step, 0), items.length - 1)]?.focus();
}

export function Toasts(): JSX.Element {
  return (
    <div class="toasts" role="status" aria-live="polite" data-testid="toasts">
      {toasts.value.map((t) => (
        <div key={t.id} class={`toast ${t.bad ? "bad" : ""}`}>
          <span>{t.text}</span>
          {t.action && (
            <button type="button" class="link" onClick={() => (t.action!.run(), dismiss(t.id))}>
              {t.action.label}
            </button>
          )}
          <IconButton icon="close" label="Dismiss" onClick={() => dismiss(t.id)} />
        </div>
      ))}
    </div>
  );
}

export function Spinner({ label }: { label: string }): JSX.Element {
  return (
    <div class="spinner" role="status">
      <span class="visually-hidden">{label}</span>
    </div>
  );
}
