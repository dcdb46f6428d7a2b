// Where in the app one is: "#/c/<conversation>/<seq>". It is in the hash, so
// that the server needs to know nothing of it.
import { signal } from "@preact/signals";

export interface Route {
  conversation?: string;
  seq?: number;
}

export function parse(hash: string): Route {
  const m = /^#\/c\/([A-Za-z0-9_.@:%-]+)(?:\/([0-9]+))?$/.exec(hash);
  if (!m) return {};
  let conversation: string;
  try {
    conversation = decodeURIComponent(m[1]!);
  } catch {
    return {};
  }
  return m[2] ? { conversation, seq: Number(m[2]) } : { conversation };
}

export function hashOf(conversation?: string, seq?: number): string {
  if (!conversation) return "#/";
  return `#/c/${encodeURIComponent(conversation)}${seq ? `/${seq}` : ""}`;
}

export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => (route.value = parse(location.hash)));

export function go(conversation?: string, seq?: number): void {
  const hash = hashOf(conversation, seq);
  if (location.hash === hash) route.value = parse(hash); // again to the same message
  else location.hash = hash;
}
