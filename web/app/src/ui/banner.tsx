import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Status } from "@parley/client";
import type { Store } from "../store.ts";
import { Icon } from "./icons.tsx";

function why(s: Status): string {
  switch (s.reason?.code) {
    case "kicked":
      return "An administrator ended the connection.";
    case "unauthorized":
      return "The server does not take the token.";
    case "rate_limited":
      return "The server takes no more connections for now.";
    default:
      return navigator.onLine ? "The server is out of reach." : "You are offline.";
  }
}

/** Says how the link is while it is not whole; short losses show as nothing. */
export function Banner({ store }: { store: Store }): JSX.Element {
  const status = store.status.value;
  const now = useSignal(Date.now());
  const late = useSignal(false);
  useEffect(() => {
    late.value = false;
    if (status.state === "online") return;
    const show = setTimeout(() => (late.value = true), status.state === "offline" ? 0 : 600);
    const tick = setInterval(() => (now.value = Date.now()), 500);
    return () => (clearTimeout(show), clearInterval(tick));
  }, [status.state]);

  const waiting = store.pending.value.length;
  const unsent = waiting > 0 ? ` ${waiting} ${waiting === 1 ? "message waits" : "messages wait"} to be sent.` : "";
  let text = "";
  if (status.state === "offline") {
    const left = Math.max(0, Math.ceil(((status.retryAt ?? now.value) - now.value) / 1000));
    text = `${why(status)} ${left > 0 ? `Trying again in ${left} s.` : "Trying again…"}${unsent}`;
  } else if (late.value && status.state === "connecting") {
    text = `${store.wasOnline.value ? "Reconnecting" : "Connecting"}…${unsent}`;
  } else if (late.value && status.state === "syncing" && store.wasOnline.value) {
    text = "Catching up with what you missed…";
  }
  return (
    <div class={`banner ${status.state} ${text ? "shown" : ""}`} data-testid="banner" data-state={status.state}>
      {text && <Icon name={status.state === "syncing" ? "clock" : "offline"} />}
      {/* The seconds are for the eye alone. */}
      <span aria-hidden="true">{text}</span>
      <span class="visually-hidden" role="status">
        {text && (status.state === "offline" ? why(status) : text)}
      </span>
    </div>
  );
}
