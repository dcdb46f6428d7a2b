import { useComputed, useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { rows, seenBy } from "../fold.ts";
import { go } from "../route.ts";
import type { Thread } from "../thread.ts";
import { dayName } from "../time.ts";
import { attempt } from "../toast.ts";
import { Composer } from "./composer.tsx";
import { Icon } from "./icons.tsx";
import { EventLine, MessageView, UnsentView } from "./message.tsx";
import { Avatar, IconButton, presenceText, Spinner } from "./parts.tsx";

const near = 60; // px from an end that count as being there

export function ThreadView({ thread, people }: { thread: Thread; people: Signal<boolean> }): JSX.Element {
  const store = thread.store;
  const gone = store.removed.value.has(thread.id);
  const title = store.title(thread.id);
  return (
    <section class="thread" data-testid="thread" data-id={thread.id} aria-label={title}>
      <Header thread={thread} people={people} />
      {thread.state.value === "loading" && <Spinner label="Loading messages" />}
      {thread.state.value === "failed" && (
        <div class="empty">
          <p role="alert">{thread.problem.value}</p>
          <button type="button" onClick={() => void thread.load()}>
            Try again
          </button>
        </div>
      )}
      {thread.state.value === "ready" && <Log thread={thread} />}
      {gone ? (
        <div class="gone" role="alert" data-testid="removed">
          <p>
            <b>You are not a member of <bdi>{title}</bdi> any more.</b> What was said up to then stays here until you leave this page.
          </p>
          <button type="button" onClick={() => go()}>
            Close
          </button>
        </div>
      ) : (
        thread.state.value !== "failed" && <Composer thread={thread} />
      )}
    </section>
  );
}

function Header({ thread, people }: { thread: Thread; people: Signal<boolean> }): JSX.Element {
  const store = thread.store;
  const c = store.conversation(thread.id);
  const title = store.title(thread.id);
  const peer = c?.peerId;
  const count = thread.details.value?.memberCount ?? thread.members.value.length;
  const there = thread.members.value.filter((m) => store.presence.value.get(m.userId)?.status === "online").length;
  return (
    <header class="thread-head">
      <IconButton icon="back" label="Back to the conversations" class="back" testid="back" onClick={() => go()} />
      <Avatar name={title} group={!peer} presence={peer ? store.presence.value.get(peer) : undefined} dot={!!peer} />
      <div class="thread-name">
        <h1 data-testid="thread-title">{title}</h1>
        <p class="soft small" data-testid="thread-presence">
          {peer ? presenceText(store.presence.value.get(peer)) || "offline" : count ? `${count} ${count === 1 ? "member" : "members"}, ${there} online` : ""}
        </p>
      </div>
      {c && (
        <IconButton
          icon="archive"
          label={c.archived ? "Take out of the archive" : "Archive"}
          testid="archive-toggle"
          onClick={() =>
            void attempt("It could not be archived", () => store.setArchived(thread.id, !c.archived)).then((ok) => ok && !c.archived && go())
          }
        />
      )}
      <IconButton
        icon="people"
        label="Members"
        testid="members-toggle"
        expanded={people.value}
        onClick={() => (people.value = !people.value)}
      />
    </header>
  );
}

function Log({ thread }: { thread: Thread }): JSX.Element {
  const store = thread.store;
  const ref = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const away = useSignal(false);
  const fresh = useSignal(0);
  const seen = useRef({ first: 0, last: 0, end: 0 });
  const lines = useComputed(() => rows(thread.items.value, thread.newFrom.value));
  const by = useComputed(() => seenBy(thread.items.value, thread.marks.value, store.me.value));
  const items = thread.items.value;
  const lastMessage = lines.value.findLastIndex((r) => r.kind === "message");
  const mine = new Set(items.flatMap((m) => (m.clientId && m.senderId === store.me.value ? [m.clientId] : [])));
  const pending = store.pending.value.filter((p) => p.conversationId === thread.id && !mine.has(p.clientId));
  const refused = store.refused.value.filter((r) => r.conversationId === thread.id);
  const gone = store.removed.value.has(thread.id);
  const end = store.conversations.value.get(thread.id)?.headSeq ?? 0;

  /** Where the newest is in view of somebody, all is read. */
  function read() {
    if (atEnd.current && !thread.hasNewer.value && !gone && document.visibilityState === "visible") {
      fresh.value = 0;
      thread.trim();
      if (end) store.markRead(thread.id, Math.max(end, items.at(-1)?.seq ?? 0));
    }
  }

  function onScroll() {
    const el = ref.current!;
    atEnd.current = el.scrollHeight - el.scrollTop - el.clientHeight < near && !thread.hasNewer.value;
    away.value = !atEnd.current;
    if (el.scrollTop < 300) void thread.older();
    if (el.scrollHeight - el.scrollTop - el.clientHeight < 300) void thread.newer();
    if (atEnd.current) read();
  }

  // What is above the view may grow without moving it; at the end it follows.
  useLayoutEffect(() => {
    const el = ref.current!;
    const first = items[0]?.seq ?? 0;
    const last = items.at(-1)?.seq ?? 0;
    const was = seen.current;
    if (was.last === 0) {
      const line = el.querySelector(".new-line");
      if (line && !thread.target.value) line.scrollIntoView({ block: "center" });
      else if (!thread.target.value) el.scrollTop = el.scrollHeight;
    } else if (first < was.first) {
      el.scrollTop += endOf(el, was.first) - was.end;
    } else if (atEnd.current && !thread.hasNewer.value) {
      el.scrollTop = el.scrollHeight;
    } else if (last > was.last && !thread.hasNewer.value) {
      fresh.value += items.filter((m) => m.seq > was.last && m.type === "message" && m.senderId !== store.me.value).length;
      if (items.at(-1)!.senderId === store.me.value && items.at(-1)!.type === "message") el.scrollTop = el.scrollHeight;
    }
    seen.current = { first, last, end: endOf(el, first) };
    atEnd.current = el.scrollHeight - el.scrollTop - el.clientHeight < near && !thread.hasNewer.value;
    away.value = !atEnd.current;
    if (el.scrollHeight <= el.clientHeight) void thread.older();
  }, [items, pending.length, refused.length, by.value]);

  useEffect(read, [items, end, gone, thread.hasNewer.value]);

  useEffect(() => {
    const again = () => read();
    document.addEventListener("visibilitychange", again);
    // A keyboard that comes up makes the view lower: what was at the end stays.
    const el = ref.current!;
    const resized = new ResizeObserver(() => {
      if (atEnd.current) el.scrollTop = el.scrollHeight;
    });
    resized.observe(el);
    return () => {
      document.removeEventListener("visibilitychange", again);
      resized.disconnect();
    };
  });

  const target = thread.target.value;
  useLayoutEffect(() => {
    if (!target) return;
    const el = ref.current!.querySelector<HTMLElement>(`[data-seq="${target.seq}"]`);
    if (!el) return;
    el.scrollIntoView({ block: "center" });
    el.focus({ preventScroll: true });
    el.classList.remove("flash");
    void el.offsetWidth; // begins the animation anew
    el.classList.add("flash");
  }, [target]);

  return (
    <div class="log-frame">
      <div
        ref={ref}
        class="log"
        role="log"
        aria-live={away.value ? "off" : "polite"}
        aria-relevant="additions"
        aria-label="Messages"
        data-testid="log"
        tabIndex={-1}
        onScroll={onScroll}
        onKeyDown={walk}
      >
        <div class="log-start">
          {thread.hasOlder.value ? <Spinner label="Loading older messages" /> : <p class="soft small">This is where it begins.</p>}
        </div>
        {lines.value.map((row, i) => {
          switch (row.kind) {
            case "day":
              return (
                <div class="day" key={row.key} role="separator" aria-label={dayName(row.at)}>
                  <span>{dayName(row.at)}</span>
                </div>
              );
            case "new":
              return (
                <div class="new-line" key={row.key} role="separator" aria-label="New messages" data-testid="new-line">
                  <span>New</span>
                </div>
              );
            case "event":
              return <EventLine key={row.key} entry={row.entry} />;
            default:
              return (
                <MessageView
                  key={row.key}
                  thread={thread}
                  m={row.message}
                  first={row.first}
                  last={row.last}
                  seen={by.value.get(row.message.seq)}
                  tab={i === lastMessage}
                />
              );
          }
        })}
        {!thread.hasNewer.value && pending.map((p) => <UnsentView key={p.clientId} thread={thread} p={p} />)}
        {!thread.hasNewer.value && refused.map((p) => <UnsentView key={p.clientId} thread={thread} p={p} reason={p.reason} />)}
      </div>
      {away.value && (
        <button
          type="button"
          class="jump"
          data-testid="jump"
          aria-label={fresh.value ? `${fresh.value} new messages: go to the newest` : "Go to the newest message"}
          onClick={() =>
            void thread.newest().then(() => {
              const el = ref.current!;
              requestAnimationFrame(() => (el.scrollTop = el.scrollHeight));
            })
          }
        >
          <Icon name="down" />
          {fresh.value > 0 && <span class="badge">{fresh.value}</span>}
        </button>
      )}
    </div>
  );
}

/**
 * Where a message ends in the log, whatever has been scrolled. Its top may go:
 * the sender's name above it does when one of the same sender comes before.
 */
function endOf(log: HTMLElement, seq: number): number {
  const el = log.querySelector<HTMLElement>(`[data-seq="${seq}"]`);
  return el ? el.offsetTop + el.offsetHeight : 0;
}

/** The arrow keys lead from message to message. */
function walk(e: KeyboardEvent): void {
  const at = (e.target as HTMLElement).closest<HTMLElement>(".msg");
  if (!at || (e.key !== "ArrowUp" && e.key !== "ArrowDown")) return;
  const all = [...(e.currentTarget as HTMLElement).querySelectorAll<HTMLElement>(".msg")];
  const to = all[all.indexOf(at) + (e.key === "ArrowUp" ? -1 : 1)];
  e.preventDefault();
  if (!to) return;
  to.focus();
  to.scrollIntoView({ block: "nearest" });
}
