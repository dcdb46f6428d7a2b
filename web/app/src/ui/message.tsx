import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import type { Folded, Pending } from "@parley/client";
import { fate } from "../fold.ts";
import type { Refused } from "../store.ts";
import { pieces, safeLink } from "../text.ts";
import type { Thread } from "../thread.ts";
import { inFull, timeOfDay } from "../time.ts";
import { attempt } from "../toast.ts";
import { Icon } from "./icons.tsx";
import { Avatar, IconButton, useDismiss } from "./parts.tsx";

const quick = ["👍", "❤️", "😂", "🎉", "😮", "😢"];
const others = ["👎", "🙏", "👏", "🔥", "✅", "❌", "👀", "💯", "🤔", "😅", "😍", "😎", "😡", "🥳", "🚀", "☕", "🍕", "🌞"];

interface Props {
  thread: Thread;
  m: Folded;
  first: boolean;
  last: boolean;
  seen: string[] | undefined;
  tab: boolean;
}

export function MessageView({ thread, m, first, last, seen, tab }: Props): JSX.Element {
  const store = thread.store;
  const me = store.me.value;
  const mine = m.senderId === me;
  const state = mine ? fate(m.seq, thread.marks.value, me) : "received";
  const direct = store.conversation(thread.id)?.direct;
  return (
    <div
      class={`msg ${mine ? "mine" : ""} ${first ? "first" : ""} ${last ? "last" : ""} ${m.deleted ? "deleted" : ""}`}
      role="article"
      aria-label={`${mine ? "You" : m.senderId}, ${inFull(m.createdAt)}`}
      tabIndex={tab ? 0 : -1}
      data-testid="message"
      data-seq={m.seq}
      data-sender={m.senderId}
      data-state={state}
    >
      {!mine && <span class="gutter">{last && <Avatar name={m.senderId} size="small" />}</span>}
      <div class="column">
        {first && !mine && !direct && <span class={`sender ink-${m.senderId.length % 6}`}>{m.senderId}</span>}
        <div class="line">
          <div class="bubble">
            {m.replyTo !== undefined && !m.deleted && <Quote thread={thread} seq={m.replyTo} />}
            {m.deleted ? (
              <span class="text soft" data-testid="message-text">
                Message deleted
              </span>
            ) : (
              <Text text={m.content ?? ""} members={thread.memberIds.value} me={me} />
            )}
            {m.mediaUrl && <Media url={m.mediaUrl} />}
            <span class="meta">
              {m.editedAt && (
                <span data-testid="edited" title={inFull(m.editedAt)}>
                  edited
                </span>
              )}
              <time dateTime={m.createdAt} title={inFull(m.createdAt)}>
                {timeOfDay(m.createdAt)}
              </time>
              {mine && !m.deleted && (
                <span class={`tick ${state}`} title={state[0]!.toUpperCase() + state.slice(1)}>
                  <Icon name={state === "sent" ? "check" : "checks"} />
                  <span class="visually-hidden">{state}</span>
                </span>
              )}
            </span>
          </div>
          {!m.deleted && <Tools thread={thread} m={m} mine={mine} />}
        </div>
        {m.reactions && m.reactions.length > 0 && <Reactions thread={thread} m={m} />}
        {seen && (
          <span class="seen" data-testid="seen-by" data-users={seen.join(" ")} title={`Seen by ${seen.join(", ")}`}>
            <span class="visually-hidden">Seen by {seen.join(", ")}</span>
            {seen.slice(0, 6).map((u) => (
              <Avatar key={u} name={u} size="tiny" />
            ))}
            {seen.length > 6 && <span class="soft small">+{seen.length - 6}</span>}
          </span>
        )}
      </div>
    </div>
  );
}

function Text({ text, members, me }: { text: string; members: ReadonlySet<string>; me: string }): JSX.Element | null {
  if (!text) return null;
  return (
    <span class={`text ${onlyEmoji(text) ? "big" : ""}`} data-testid="message-text">
      {pieces(text, members).map((p) => {
        switch (p.kind) {
          case "link":
            return (
              <a href={p.href} target="_blank" rel="noreferrer noopener">
                {p.text}
              </a>
            );
          case "mention":
            return <span class={`mention ${p.userId === me ? "me" : ""}`}>{p.text}</span>;
          default:
            return p.text;
        }
      })}
    </span>
  );
}

function onlyEmoji(text: string): boolean {
  return text.length <= 12 && /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\u200d|\ufe0f|\s)+$/u.test(text);
}

/** What lies elsewhere is a link: the page loads nothing from other hosts. */
function Media({ url }: { url: string }): JSX.Element {
  const href = safeLink(url);
  if (!href) return <span class="media">{url}</span>;
  const u = new URL(href);
  const name = decodeName(u.pathname.split("/").pop() ?? "");
  return (
    <a class="media" href={href} target="_blank" rel="noreferrer noopener">
      <Icon name="link" />
      <span>
        <b>{name || u.hostname}</b>
        <span class="soft small">{u.hostname}</span>
      </span>
    </a>
  );
}

function decodeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function Quote({ thread, seq }: { thread: Thread; seq: number }): JSX.Element {
  const m = thread.quote(seq);
  const who = m?.senderId === thread.store.me.value ? "You" : (m?.senderId ?? "…");
  const text = !m ? "…" : m.deleted ? "Message deleted" : (m.content ?? m.mediaUrl ?? "");
  return (
    <button type="button" class="quote" data-testid="quote" data-target={seq} title="Go to this message" onClick={() => void thread.jump(seq)}>
      <b>{who}</b>
      <span>{text}</span>
    </button>
  );
}

function Reactions({ thread, m }: { thread: Thread; m: Folded }): JSX.Element {
  const me = thread.store.me.value;
  return (
    <span class="reactions">
      {m.reactions!.map((r) => {
        const mine = r.userIds.includes(me);
        const who = r.userIds.slice(0, 10).map((u) => (u === me ? "you" : u)).join(", ") + (r.count > 10 ? " and others" : "");
        return (
          <button
            key={r.emoji}
            type="button"
            class="reaction"
            aria-pressed={mine}
            aria-label={`${r.emoji} ${r.count}, by ${who}`}
            title={who}
            data-testid="reaction"
            data-emoji={r.emoji}
            data-count={r.count}
            onClick={() => react(thread, m, r.emoji)}
          >
            {r.emoji} <span>{r.count}</span>
          </button>
        );
      })}
    </span>
  );
}

/** Adds a reaction, or takes one's own back. */
function react(thread: Thread, m: Folded, emoji: string): void {
  const had = m.reactions?.find((r) => r.emoji === emoji)?.userIds.includes(thread.store.me.value) ?? false;
  void attempt("The reaction was refused", () => thread.store.client.react(thread.id, m.seq, emoji, had));
}

function Tools({ thread, m, mine }: { thread: Thread; m: Folded; mine: boolean }): JSX.Element | null {
  const open = useSignal(false);
  const sure = useSignal(false);
  const ref = useDismiss(open.value || sure.value, () => ((open.value = false), (sure.value = false)));
  if (thread.store.removed.value.has(thread.id)) return null;
  const rules = thread.role.value === "owner" || thread.role.value === "admin";
  const focus = () => document.getElementById("composer")?.focus();
  return (
    <div class={`tools ${open.value || sure.value ? "open" : ""}`} ref={ref}>
      <IconButton icon="smile" label="React" testid="react" expanded={open.value} onClick={() => (open.value = !open.value)} />
      <IconButton
        icon="reply"
        label="Reply"
        testid="reply"
        onClick={() => {
          thread.editing.value = undefined;
          thread.replyTo.value = m;
          focus();
        }}
      />
      {(mine || rules) && m.content !== undefined && (
        <IconButton
          icon="edit"
          label="Edit"
          testid="edit"
          onClick={() => {
            thread.replyTo.value = undefined;
            thread.editing.value = m;
            focus();
          }}
        />
      )}
      {(mine || rules) && <IconButton icon="trash" label="Delete" testid="delete" expanded={sure.value} onClick={() => (sure.value = !sure.value)} />}
      {open.value && (
        <div class="pop picker" role="group" aria-label="Pick a reaction">
          {[...quick, ...others].map((emoji) => (
            <button
              key={emoji}
              type="button"
              aria-label={emoji}
              onClick={() => {
                open.value = false;
                ref.current?.closest<HTMLElement>(".msg")?.focus();
                react(thread, m, emoji);
              }}
            >
              {emoji}
            </button>
          ))}
        </div>
      )}
      {sure.value && (
        <div class="pop sure" role="group" aria-label="Delete this message for everybody?">
          <span>Delete for everybody?</span>
          <button
            type="button"
            class="danger"
            data-testid="delete-confirm"
            onClick={() => {
              sure.value = false;
              void attempt("It could not be deleted", () => thread.store.client.deleteMessage(thread.id, m.seq));
            }}
          >
            Delete
          </button>
        </div>
      )}
    </div>
  );
}

/** A message that waits in the outbox, or that the server refused. */
export function UnsentView({ thread, p, reason }: { thread: Thread; p: Pending | Refused; reason?: string }): JSX.Element {
  const store = thread.store;
  const state = reason === undefined ? "pending" : "failed";
  return (
    <div
      class={`msg mine first last unsent ${state}`}
      role="article"
      aria-label={reason === undefined ? "You, not sent yet" : "You, refused"}
      tabIndex={-1}
      data-testid="message"
      data-state={state}
      data-sender={store.me.value}
    >
      <div class="column">
        <div class="line">
          <div class="bubble">
            {p.replyTo !== undefined && <Quote thread={thread} seq={p.replyTo} />}
            <Text text={p.content ?? ""} members={thread.memberIds.value} me={store.me.value} />
            {p.mediaUrl && <Media url={p.mediaUrl} />}
            <span class="meta">
              <span class={`tick ${state}`} title={reason ?? "Waits to be sent"}>
                <Icon name={reason === undefined ? "clock" : "alert"} />
                <span class="visually-hidden">{reason === undefined ? "waits to be sent" : "refused"}</span>
              </span>
            </span>
          </div>
        </div>
        {reason !== undefined && (
          <span class="refusal" role="alert">
            Not sent: {reason}{" "}
            <button type="button" class="link" onClick={() => store.resend(p as Refused)}>
              Try again
            </button>{" "}
            <button type="button" class="link" onClick={() => store.discard(p.clientId)}>
              Discard
            </button>
          </span>
        )}
      </div>
    </div>
  );
}

/** Somebody came, went, or gave the conversation another name. */
export function EventLine({ entry: e }: { entry: Folded }): JSX.Element {
  const by = e.senderId && e.senderId !== e.userId ? e.senderId : undefined;
  let text: ComponentChildren;
  if (e.type === "join") text = by ? `${by} added ${e.userId}` : `${e.userId} joined`;
  else if (e.type === "leave") text = by ? `${by} removed ${e.userId}` : `${e.userId} left`;
  else if (!e.name) text = `${e.senderId} took the name away`;
  else text = [`${e.senderId} named this “`, <bdi>{e.name}</bdi>, "”"];
  return (
    <p class="event" data-testid="event" data-type={e.type} data-seq={e.seq} title={inFull(e.createdAt)}>
      {text}
    </p>
  );
}
