import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Notification } from "@parley/client";
import { go } from "../route.ts";
import { noticeText, type Store } from "../store.ts";
import { ago, inFull } from "../time.ts";
import { attempt } from "../toast.ts";
import { Avatar, IconButton, roving, Spinner, useDismiss } from "./parts.tsx";

/** The bell: how many notifications are unread, and the list of them. */
export function Bell({ store }: { store: Store }): JSX.Element {
  const open = useSignal(false);
  const ref = useDismiss(open.value, () => (open.value = false));
  const count = store.unreadNotifications.value;
  const list = store.notifications.value;

  function openOne(n: Notification) {
    if (!n.isRead) void attempt("It could not be marked", () => store.readNotifications({ ids: [n.id] }));
    const { conversationId, seq } = n.data ?? {};
    if (typeof conversationId === "string") {
      open.value = false;
      go(conversationId, typeof seq === "number" ? seq : undefined);
    }
  }

  return (
    <div class="bell" ref={ref}>
      <IconButton
        icon="bell"
        label={count ? `Notifications, ${count} unread` : "Notifications"}
        testid="bell"
        expanded={open.value}
        onClick={() => {
          open.value = !open.value;
          if (open.value) void attempt("Notifications could not be loaded", () => store.loadNotifications());
        }}
      >
        {count > 0 && (
          <span class="badge over" data-testid="bell-count" aria-hidden="true">
            {count > 99 ? "99+" : count}
          </span>
        )}
      </IconButton>
      {open.value && (
        <div class="pop notices" role="region" aria-label="Notifications" data-testid="notices">
          <div class="pop-head">
            <h2>Notifications</h2>
            <button
              type="button"
              class="link"
              disabled={count === 0}
              data-testid="notices-read-all"
              onClick={() => void attempt("They could not be marked", () => store.readNotifications({ all: true }))}
            >
              Mark all read
            </button>
          </div>
          {!list && <Spinner label="Loading notifications" />}
          {list?.length === 0 && <p class="soft pad">Nothing yet. Who mentions you with @{store.me.value} shows here.</p>}
          <ul onKeyDown={(e) => roving(e, ".notice")}>
            {list?.map((n, i) => (
              <li key={n.id}>
                <button
                  type="button"
                  class={`notice ${n.isRead ? "" : "unread"}`}
                  tabIndex={i === 0 ? 0 : -1}
                  data-testid="notice"
                  data-read={n.isRead}
                  onClick={() => openOne(n)}
                >
                  <Avatar name={n.senderId || "?"} size="small" />
                  <span class="notice-main">
                    <span>
                      {noticeText(n)}
                      {typeof n.data?.conversationId === "string" && <> in <bdi>{store.title(n.data.conversationId)}</bdi></>}
                    </span>
                    <time class="soft" dateTime={n.createdAt} title={inFull(n.createdAt)}>
                      {ago(n.createdAt)}
                    </time>
                  </span>
                  {!n.isRead && (
                    <span class="unread-dot">
                      <span class="visually-hidden">unread</span>
                    </span>
                  )}
                </button>
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}
