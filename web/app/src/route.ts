// The place that the address names, and how to go to another.
import { signal } from "@preact/signals";
import { hashOf, parse, type Route } from "./hash.ts";

export { hashOf } from "./hash.ts";

export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => (route.value = parse(location.hash)));

export function go(conversation?: string, seq?: number): void {
  const hash = hashOf(conversation, seq);
  if (location.hash === hash) route.value = parse(hash); // again to the same message
  else location.hash = hash;
}
