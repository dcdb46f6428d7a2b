import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Conversation } from "@parley/client";
import { hashOf } from "../route.ts";
import { signOut } from "../session.ts";
import type { Store } from "../store.ts";
import { inFull, listTime } from "../time.ts";
import { attempt } from "../toast.ts";
import { Bell } from "./bell.tsx";
import { Icon } from "./icons.tsx";
import { Avatar, IconButton, presenceText, roving, Spinner, useDismiss } from "./parts.tsx";
import { ThemeButton } from "./theme.tsx";

export function Sidebar({ store, onSearch, onNew }: { store: Store; onSearch: () => void; onNew: () => void }): JSX.Element {
  const archived = useSignal(false);
  const list = archived.value ? (store.archive.value ?? []) : store.list.value.filter((c) => shown(store, c));
  const current = store.thread.value?.id;
  // One item is in the order of tabs; the arrow keys lead to the others.
  const tab = list.some((c) => c.id === current) ? current : list[0]?.id;
  return (
    <aside class="side" aria-label="Conversations">
      <header class="side-head">
        <Me store={store} />
        <Bell store={store} />
        <ThemeButton />
      </header>
      <div class="side-tools">
        <button type="button" class="search-button" onClick={onSearch} data-testid="search-open">
          <Icon name="search" />
          <span>Search</span>
          <kbd>{/Mac/.test(navigator.platform) ? "⌘K" : "Ctrl K"}</kbd>
        </button>
        <IconButton icon="plus" label="New conversation" testid="new-conversation" class="filled" onClick={onNew} />
      </div>
      <nav aria-label={archived.value ? "Archive" : "Conversations"} class="side-list" onKeyDown={(e) => roving(e, ".conv")}>
        {!store.loaded.value && <Spinner label="Loading conversations" />}
        {store.loaded.value && list.length === 0 && (
          <p class="soft pad">{archived.value ? "The archive is empty." : "No conversations yet."}</p>
        )}
        <ul>
          {list.map((c) => (
            <Item key={c.id} store={store} c={c} current={c.id === current} tab={c.id === tab} />
          ))}
        </ul>
        {!archived.value && store.more.value && (
          <button type="button" class="link pad" onClick={() => void store.loadMore()}>
            Show more
          </button>
        )}
      </nav>
      <footer class="side-foot">
        <button
          type="button"
          class="link"
          data-testid="archive"
          aria-pressed={archived.value}
          onClick={() => {
            archived.value = !archived.value;
            if (archived.value) void attempt("The archive could not be loaded", () => store.loadArchive());
          }}
        >
          <Icon name={archived.value ? "back" : "archive"} /> {archived.value ? "All conversations" : "Archive"}
        </button>
      </footer>
    </aside>
  );
}

/** What one has left stays as long as it is open. */
function shown(store: Store, c: Conversation): boolean {
  return !store.removed.value.has(c.id) || store.thread.value?.id === c.id;
}

function Item({ store, c, current, tab }: { store: Store; c: Conversation; current: boolean; tab: boolean }): JSX.Element {
  const title = store.title(c.id);
  const typing = store.typing.value.get(c.id);
  const last = c.lastMessage;
  const mine = last?.senderId === store.me.value;
  const preview = last ? (last.content ?? last.mediaUrl ?? "") : "No messages yet";
  return (
    <li>
      <a
        class={`conv ${c.unread ? "unread" : ""}`}
        href={hashOf(c.id)}
        aria-current={current ? "page" : undefined}
        tabIndex={tab ? 0 : -1}
        data-testid="conversation"
        data-id={c.id}
        data-unread={c.unread}
      >
        <Avatar name={title} group={!c.direct} presence={c.peerId ? store.presence.value.get(c.peerId) : undefined} dot={!!c.peerId} />
        <span class="conv-main">
          <span class="conv-top">
            <span class="conv-title">{title}</span>
            {c.peerId && <span class="visually-hidden">, {presenceText(store.presence.value.get(c.peerId)) || "offline"}</span>}
            <time class="conv-time" dateTime={last?.createdAt} title={last && inFull(last.createdAt)}>
              {listTime(last?.createdAt ?? c.createdAt)}
            </time>
          </span>
          <span class="conv-bottom">
            {typing ? (
              <span class="conv-last typing-now">{c.direct ? "typing…" : `${typing[0]} is typing…`}</span>
            ) : (
              <span class="conv-last">
                {mine ? <span class="who">You: </span> : last && !c.direct && <span class="who">{last.senderId}: </span>}
                <bdi>{preview}</bdi>
              </span>
            )}
            {c.unread > 0 && (
              <span class="badge" data-testid="unread">
                {c.unread > 99 ? "99+" : c.unread}
                <span class="visually-hidden"> unread</span>
              </span>
            )}
          </span>
        </span>
      </a>
    </li>
  );
}

const statuses = ["online", "away", "invisible"] as const;

/** Who is signed in, with how they show to others, and the way out. */
function Me({ store }: { store: Store }): JSX.Element {
  const open = useSignal(false);
  const ref = useDismiss(open.value, () => (open.value = false));
  const me = store.me.value;
  const linked = store.status.value.state === "online" || store.status.value.state === "syncing";
  const presence = linked ? store.presence.value.get(me) : undefined;
  return (
    <div class="me" ref={ref}>
      <button
        type="button"
        class="me-button"
        aria-expanded={open.value}
        data-testid="me"
        data-user={me}
        onClick={() => (open.value = !open.value)}
      >
        <Avatar name={me || "?"} presence={presence} dot size="small" />
        <span class="me-name">
          {me || "Signing in"}
          <span class="visually-hidden">, {presence?.status ?? "offline"}: your menu</span>
        </span>
      </button>
      {open.value && (
        <div class="pop menu">
          <p class="menu-label" id="show-as">
            Show me as
          </p>
          <div role="group" aria-labelledby="show-as">
            {statuses.map((s) => (
              <button
                key={s}
                type="button"
                class="menu-item"
                aria-pressed={presence?.status === s}
                onClick={() => {
                  open.value = false;
                  void attempt("Your presence could not be set", () => store.client.setPresence(s));
                }}
              >
                <span class={`dot still ${s}`} /> {s[0]!.toUpperCase() + s.slice(1)}
              </button>
            ))}
          </div>
          <hr />
          <a class="menu-item" href="/admin">
            <Icon name="auto" /> Administration
          </a>
          <button type="button" class="menu-item" data-testid="sign-out" onClick={signOut}>
            <Icon name="out" /> Sign out
          </button>
        </div>
      )}
    </div>
  );
}
