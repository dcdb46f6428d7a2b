import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Entry } from "@parley/client";
import { hashOf } from "../route.ts";
import type { Store } from "../store.ts";
import { marked, snippet } from "../text.ts";
import { inFull, listTime } from "../time.ts";
import { failed } from "../toast.ts";
import { Icon } from "./icons.tsx";
import { Avatar, Dialog, IconButton, roving } from "./parts.tsx";

const pause = 180; // ms of no typing before it asks

/** Finds messages in all conversations, or in the one that is open. */
export function SearchDialog({ store, onClose }: { store: Store; onClose: () => void }): JSX.Element {
  const query = useSignal("");
  const asked = useSignal("");
  const here = useSignal(false);
  const results = useSignal<readonly Entry[]>([]);
  const next = useSignal<string | undefined>(undefined);
  const open = store.thread.value?.id;

  useEffect(() => {
    const q = query.value.trim();
    if (!/[\p{L}\p{N}]/u.test(q)) {
      results.value = [];
      asked.value = "";
      return;
    }
    let stale = false;
    const timer = setTimeout(() => {
      store.client.search(q, { limit: 30, ...(here.value && open ? { conversation: open } : {}) }).then(
        (page) => {
          if (stale) return;
          results.value = page.items;
          next.value = page.nextCursor;
          asked.value = q;
        },
        (err) => !stale && failed("The search failed", err),
      );
    }, pause);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [query.value, here.value]);

  async function more() {
    try {
      const page = await store.client.search(asked.value, { limit: 30, cursor: next.value!, ...(here.value && open ? { conversation: open } : {}) });
      results.value = [...results.value, ...page.items];
      next.value = page.nextCursor;
    } catch (err) {
      failed("The search failed", err);
    }
  }

  return (
    <Dialog label="Search" onClose={onClose} class="search" testid="search-dialog">
      <div
        onKeyDown={(e) => {
          if (e.key === "ArrowDown" && e.target instanceof HTMLInputElement) {
            e.preventDefault();
            e.currentTarget.querySelector<HTMLElement>(".result")?.focus();
          } else roving(e, ".result");
        }}
      >
        <div class="search-field" role="search">
          <Icon name="search" />
          <input
            type="search"
            aria-label="Search messages"
            placeholder="Search messages"
            maxLength={250}
            autoFocus
            data-testid="search"
            value={query.value}
            onInput={(e) => (query.value = e.currentTarget.value)}
          />
          <IconButton icon="close" label="Close" onClick={onClose} />
        </div>
        {open && (
          <label class="check pad">
            <input type="checkbox" checked={here.value} onChange={(e) => (here.value = e.currentTarget.checked)} /> only in{" "}
            {store.title(open)}
          </label>
        )}
        <p class="soft pad" role="status">
          {asked.value && (results.value.length ? "" : `Nothing found for “${asked.value}”. Words are found whole.`)}
          {!asked.value && "Whole words, in all your conversations."}
        </p>
        <ul class="results">
          {results.value.map((e) => (
            <li key={e.id}>
              <a class="result" href={hashOf(e.conversationId, e.seq)} data-testid="search-result" data-seq={e.seq} onClick={onClose}>
                <Avatar name={e.senderId} size="small" />
                <span class="result-main">
                  <span class="conv-top">
                    <span>
                      <b>{e.senderId}</b> <span class="soft">in <bdi>{store.title(e.conversationId)}</bdi></span>
                    </span>
                    <time class="conv-time" dateTime={e.createdAt} title={inFull(e.createdAt)}>
                      {listTime(e.createdAt)}
                    </time>
                  </span>
                  <span class="result-text">
                    {marked(snippet(e.content ?? "", asked.value), asked.value).map((p) => (p.hit ? <mark>{p.text}</mark> : p.text))}
                  </span>
                </span>
              </a>
            </li>
          ))}
        </ul>
        {next.value && (
          <button type="button" class="link pad" onClick={() => void more()}>
            Show more
          </button>
        )}
      </div>
    </Dialog>
  );
}
