import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Status } from "@parley/client";
import { go, route } from "../route.ts";
import { signOut } from "../session.ts";
import type { Store } from "../store.ts";
import { Banner } from "./banner.tsx";
import { MembersPanel } from "./members.tsx";
import { NewConversation } from "./newconversation.tsx";
import { SearchDialog } from "./search.tsx";
import { Sidebar } from "./sidebar.tsx";
import { Logo } from "./signin.tsx";
import { ThreadView } from "./threadview.tsx";

const mac = /Mac|iPhone|iPad/.test(navigator.platform);

/** The page of who is signed in: the list, the conversation, its members. */
export function Shell({ store }: { store: Store }): JSX.Element {
  const searching = useSignal(false);
  const making = useSignal(false);
  const people = useSignal(false);
  const status = store.status.value;
  const thread = store.thread.value;

  useEffect(() => {
    const key = (e: KeyboardEvent) => {
      if (e.key.toLowerCase() === "k" && (mac ? e.metaKey : e.ctrlKey) && !e.shiftKey && !e.altKey) {
        e.preventDefault();
        searching.value = true;
      }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);

  const title = thread ? store.title(thread.id) : "";
  const unread = store.unread.value;
  useEffect(() => {
    document.title = `${unread ? `(${unread}) ` : ""}${title ? `${title} · ` : ""}Parley`;
  }, [unread, title]);

  if (status.state === "closed" && status.reason) return <Ended status={status} />;
  return (
    <div class={`shell ${route.value.conversation ? "in-thread" : ""} ${people.value && thread ? "with-people" : ""}`}>
      <a class="skip" href="#composer" onClick={(e) => (e.preventDefault(), document.getElementById("composer")?.focus())}>
        Skip to the message field
      </a>
      <span class="visually-hidden" data-testid="status" data-state={status.state} data-ready={store.loaded.value} />
      <Sidebar store={store} onSearch={() => (searching.value = true)} onNew={() => (making.value = true)} />
      <main class="stage" aria-label={thread ? `Conversation ${title}` : "Conversation"}>
        <Banner store={store} />
        {thread ? (
          <ThreadView key={thread} thread={thread} people={people} />
        ) : (
          <div class="empty">
            <Logo />
            <h2>{store.loaded.value && store.list.value.length === 0 ? "Nothing here yet" : "Pick a conversation"}</h2>
            <p class="soft">
              {store.loaded.value && store.list.value.length === 0
                ? "Begin one with somebody you know the name of."
                : "Or begin a new one."}
            </p>
            <button type="button" class="primary" onClick={() => (making.value = true)}>
              New conversation
            </button>
          </div>
        )}
      </main>
      {thread && people.value && <MembersPanel thread={thread} onClose={() => (people.value = false)} />}
      {searching.value && <SearchDialog store={store} onClose={() => (searching.value = false)} />}
      {making.value && (
        <NewConversation
          store={store}
          onClose={(id) => {
            making.value = false;
            if (id) go(id);
          }}
        />
      )}
    </div>
  );
}

const ends: Record<string, string> = {
  taken_over: "Another window has taken this connection over.",
  kicked: "An administrator has ended this connection.",
  unauthorized: "The token has expired or was revoked.",
};

/** The connection ended for good. */
function Ended({ status }: { status: Status }): JSX.Element {
  const reason = status.reason!;
  return (
    <main class="signin" data-testid="ended" data-code={reason.code}>
      <div class="card">
        <Logo />
        <h1>Disconnected</h1>
        <p role="alert">{ends[reason.code] ?? reason.message}</p>
        <div class="row">
          {reason.code !== "unauthorized" && (
            <button type="button" class="primary" onClick={() => location.reload()}>
              Connect again
            </button>
          )}
          <button type="button" class={reason.code === "unauthorized" ? "primary" : ""} onClick={signOut}>
            Sign in anew
          </button>
        </div>
      </div>
    </main>
  );
}
