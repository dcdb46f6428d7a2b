import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { mentionsIn } from "../text.ts";
import type { Folded } from "@parley/client";
import type { Thread } from "../thread.ts";
import { attempt } from "../toast.ts";
import { Icon } from "./icons.tsx";
import { Avatar, IconButton } from "./parts.tsx";

const maxBytes = 8192;
const idle = 4000; // ms without a key after which one types no more

const bytes = new TextEncoder();
// A touch keyboard's Enter makes a line: there is a button to send.
const touch = matchMedia("(pointer: coarse)").matches;

const editKey = (thread: Thread, m: Folded) => `${thread.id}/${m.seq}`;

/** Edits a message. What is refused is there when one edits it again, at once if nothing else is being written. */
async function edit(thread: Thread, m: Folded, content: string): Promise<void> {
  const { client, drafts } = thread.store;
  const key = editKey(thread, m);
  drafts.set(key, content);
  if (await attempt("The edit was refused", () => client.editMessage(thread.id, m.seq, content))) {
    if (drafts.get(key) === content) drafts.delete(key);
  } else if (thread.store.thread.value === thread && !thread.editing.value && !thread.replyTo.value && !drafts.get(thread.id)) {
    thread.editing.value = m;
  }
}

export function Composer({ thread }: { thread: Thread }): JSX.Element {
  const store = thread.store;
  const drafts = store.drafts;
  const text = useSignal(drafts.get(thread.id) ?? "");
  const field = useRef<HTMLTextAreaElement>(null);
  const stop = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const naming = useSignal<string | undefined>(undefined);
  const pick = useSignal(0);
  const editing = thread.editing.value;
  const replying = thread.replyTo.value;

  useEffect(() => {
    if (!touch) field.current?.focus();
    return () => {
      clearTimeout(stop.current);
      store.client.typing(thread.id, false);
    };
  }, []);

  // Before the next key: one that comes at once belongs to what is edited.
  useLayoutEffect(() => {
    if (editing) text.value = drafts.get(editKey(thread, editing)) ?? editing.content ?? "";
    else text.value = drafts.get(thread.id) ?? "";
    field.current?.focus();
  }, [editing, store.me.value]); // what this user left here before

  useLayoutEffect(() => {
    const el = field.current!;
    el.style.height = "auto";
    el.style.height = `${Math.min(el.scrollHeight, 180)}px`;
  }, [text.value]);

  const size = bytes.encode(text.value).length;
  const tooLong = size > maxBytes;
  const empty = !text.value.trim();
  const found =
    naming.value === undefined
      ? []
      : [...thread.memberIds.value].filter((u) => u !== store.me.value && u.toLowerCase().startsWith(naming.value!.toLowerCase())).slice(0, 6);

  function typed(value: string) {
    text.value = value;
    if (!editing) drafts.set(thread.id, value);
    clearTimeout(stop.current);
    const on = value.trim() !== "" && !editing;
    store.client.typing(thread.id, on);
    if (on) stop.current = setTimeout(() => store.client.typing(thread.id, false), idle);
    const el = field.current!;
    naming.value = /(?:^|\s)@([A-Za-z0-9_.:-]*)$/.exec(value.slice(0, el.selectionStart))?.[1];
    pick.value = 0;
  }

  function complete(user: string) {
    const el = field.current!;
    const before = text.value.slice(0, el.selectionStart).replace(/@[A-Za-z0-9_.:-]*$/, `@${user} `);
    // The field has it at once: the next key comes behind the name.
    el.value = before + text.value.slice(el.selectionStart);
    el.focus();
    el.setSelectionRange(before.length, before.length);
    typed(el.value);
    naming.value = undefined;
  }

  function cancel() {
    if (editing) drafts.delete(editKey(thread, editing));
    thread.editing.value = undefined;
    thread.replyTo.value = undefined;
  }

  function submit() {
    const content = text.value.trim();
    if (!content || tooLong) return;
    clearTimeout(stop.current);
    if (editing) {
      const was = editing;
      thread.editing.value = undefined;
      if (content !== was.content) void edit(thread, was, content);
      return;
    }
    const mentions = mentionsIn(content, thread.memberIds.value).filter((u) => u !== store.me.value);
    void store.send(thread.id, {
      content,
      ...(replying ? { replyTo: replying.seq } : {}),
      ...(mentions.length ? { mentions } : {}),
    });
    drafts.delete(thread.id);
    text.value = "";
    thread.replyTo.value = undefined;
    thread.newFrom.value = undefined;
    if (thread.hasNewer.value) void thread.newest();
  }

  function onKey(e: KeyboardEvent) {
    if (e.isComposing) return;
    if (found.length > 0) {
      if (e.key === "ArrowDown" || e.key === "ArrowUp") {
        e.preventDefault();
        pick.value = (pick.value + (e.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
        return;
      }
      if (e.key === "Enter" || e.key === "Tab") {
        e.preventDefault();
        complete(found[pick.value]!);
        return;
      }
      if (e.key === "Escape") {
        naming.value = undefined;
        return;
      }
    }
    if (e.key === "Enter" && !e.shiftKey && !touch) {
      e.preventDefault();
      submit();
    } else if (e.key === "Escape" && (editing || replying)) {
      e.preventDefault();
      cancel();
    } else if (e.key === "ArrowUp" && text.value === "" && !editing) {
      const last = thread.items.value.findLast((m) => m.type === "message" && m.senderId === store.me.value && !m.deleted && m.content);
      if (!last) return;
      e.preventDefault();
      thread.editing.value = last;
    }
  }

  return (
    <footer class="composer">
      <TypingLine thread={thread} />
      {(editing || replying) && (
        <div class="composing" data-testid={editing ? "editing" : "replying"}>
          <Icon name={editing ? "edit" : "reply"} />
          <span class="composing-main">
            <b>{editing ? "Editing" : `Replying to ${replying!.senderId === store.me.value ? "yourself" : replying!.senderId}`}</b>
            <span class="soft">{(editing ?? replying)!.content ?? (editing ?? replying)!.mediaUrl}</span>
          </span>
          <IconButton icon="close" label={editing ? "Cancel the edit" : "Cancel the reply"} onClick={cancel} />
        </div>
      )}
      <form
        class="composer-row"
        onSubmit={(e) => {
          e.preventDefault();
          submit();
        }}
      >
        {found.length > 0 && (
          <ul class="pop naming" role="listbox" id="naming" aria-label="Members">
            {found.map((u, i) => (
              <li key={u} id={`naming-${i}`} role="option" aria-selected={i === pick.value} onPointerDown={(e) => (e.preventDefault(), complete(u))}>
                <Avatar name={u} size="small" /> {u}
              </li>
            ))}
          </ul>
        )}
        <textarea
          ref={field}
          id="composer"
          rows={1}
          aria-label={`Message to ${store.title(thread.id)}`}
          placeholder="Write a message"
          aria-invalid={tooLong}
          aria-controls={found.length ? "naming" : undefined}
          aria-activedescendant={found.length ? `naming-${pick.value}` : undefined}
          data-testid="composer"
          value={text.value}
          onInput={(e) => typed(e.currentTarget.value)}
          onKeyDown={onKey}
          onBlur={() => store.client.typing(thread.id, false)}
        />
        {size > maxBytes * 0.9 && (
          <span class={`count ${tooLong ? "over" : ""}`} role="status">
            {maxBytes - size}
          </span>
        )}
        <button type="submit" class="send" aria-label={editing ? "Save the edit" : "Send"} title={editing ? "Save" : "Send"} disabled={empty || tooLong} data-testid="send">
          <Icon name={editing ? "check" : "send"} />
        </button>
      </form>
    </footer>
  );
}

function TypingLine({ thread }: { thread: Thread }): JSX.Element {
  const who = thread.store.typing.value.get(thread.id) ?? [];
  let text = "";
  if (who.length === 1) text = `${who[0]} is typing`;
  else if (who.length === 2) text = `${who[0]} and ${who[1]} are typing`;
  else if (who.length > 2) text = `${who.length} people are typing`;
  return (
    <p class="typing" data-testid="typing" data-users={who.join(" ")}>
      {text && (
        <>
          <span class="dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          {text}
        </>
      )}
    </p>
  );
}
