// Short news at the edge of the screen.
import { signal } from "@preact/signals";

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
  action?: { label: string; run: () => void };
}

export const toasts = signal<readonly Toast[]>([]);

let last = 0;

export function toast(text: string, o: { bad?: boolean; action?: Toast["action"] } = {}): void {
  if (toasts.value.some((t) => t.text === text)) return;
  const t: Toast = { id: ++last, text, bad: o.bad ?? false, ...(o.action ? { action: o.action } : {}) };
  toasts.value = [...toasts.value.slice(-3), t];
  setTimeout(() => dismiss(t.id), o.bad ? 8000 : 5000);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((t) => t.id !== id);
}

/** Says what went wrong, in the server's words. That somebody signs out is nothing that does. */
export function failed(what: string, err: unknown): void {
  if ((err as { code?: string } | null)?.code === "closed") return;
  const text = err instanceof Error ? err.message : String(err);
  toast(`${what}: ${text}`, { bad: true });
}

/** Runs what was asked for, and says so when it fails. */
export async function attempt(what: string, f: () => Promise<unknown>): Promise<boolean> {
  try {
    await f();
    return true;
  } catch (err) {
    failed(what, err);
    return false;
  }
}
