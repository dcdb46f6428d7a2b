// The operators' page. Test ids: tile-connections, tile-committed,
// tile-delivered, tile-commit-p50, tile-commit-p99, tile-lag, tile-memory;
// connections, connection (data-user, data-client), disconnect,
// disconnect-confirm, filter, sign-out; signing in as in the chat.
import "../style.css";
import "./admin.css";
import { effect, untracked } from "@preact/signals";
import { render } from "preact";
import { session } from "../session.ts";
import { Toasts } from "../ui/parts.tsx";
import { SignIn } from "../ui/signin.tsx";
import { Live } from "./live.ts";
import { AdminPage } from "./page.tsx";

const root = document.getElementById("app")!;
let live: Live | undefined;

effect(() => {
  const who = session.value;
  untracked(() => {
    const notice = live?.refused.value;
    live?.close();
    live = who && new Live(who);
    render(
      <>
        {live && who ? <AdminPage key={live} live={live} who={who} /> : <SignIn admin notice={notice} />}
        <Toasts />
      </>,
      root,
    );
  });
});
