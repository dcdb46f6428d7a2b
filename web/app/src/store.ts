// Everything of one user who is signed in: the connection, the list of
// conversations, who is there, notifications. It lives from signing in to
// signing out.
import { batch, computed, signal } from "@preact/signals";
import { connect, ParleyError } from "@parley/client";
import type { Client, Conversation, Draft, Entry, Notification, Pending, Presence, Problem, Status } from "@parley/client";
import { go } from "./route.ts";
import { Thread } from "./thread.ts";
import { toast, failed } from "./toast.ts";

/** A message that the server refused for good. */
export interface Refused extends Draft {
  conversationId: string;
  clientId: string;
  reason: string;
}

const pageSize = 100;
const mostNotices = 200; // that came live, in the list of the bell

/** What somebody who signed out has not sent: there again when the same one is back in this page, and nobody else's. */
const left = new Map<string, { drafts: Map<string, string>; refused: readonly Refused[] }>();

// Pages that came over plain HTTP from another machine have no randomUUID.
crypto.randomUUID ??= () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40; // version 4
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
};

export class Store {
  readonly client: Client;
  readonly me = signal("");
  readonly status = signal<Status>({ state: "connecting" });
  /** The link was whole once; before that there is nothing to catch up with. */
  readonly wasOnline = signal(false);
  readonly presence = signal<ReadonlyMap<string, Presence>>(new Map());
  readonly conversations = signal<ReadonlyMap<string, Conversation>>(new Map());
  readonly loaded = signal(false);
  readonly more = signal<string | undefined>(undefined);
  readonly archive = signal<readonly Conversation[] | undefined>(undefined);
  readonly typing = signal<ReadonlyMap<string, readonly string[]>>(new Map());
  readonly pending = signal<readonly Pending[]>([]);
  readonly refused = signal<readonly Refused[]>([]);
  readonly removed = signal<ReadonlySet<string>>(new Set());
  readonly notifications = signal<readonly Notification[] | undefined>(undefined);
  readonly unreadNotifications = signal(0);
  readonly thread = signal<Thread | undefined>(undefined);
  /** What is being written, by conversation, or by conversation and message that is edited. */
  readonly drafts = new Map<string, string>();

  /** Newest activity first. */
  readonly list = computed(() =>
    [...this.conversations.value.values()].sort((a, b) => (activity(a) < activity(b) ? 1 : -1)),
  );
  readonly unread = computed(() => this.list.value.reduce((n, c) => n + c.unread, 0));

  #off: (() => void)[] = [];
  #reload: ReturnType<typeof setTimeout> | undefined;
  #loading = false;
  #typingEnds = new Map<string, ReturnType<typeof setTimeout>>();
  #toRead = new Map<string, number>();
  /** Conversations with news that the list was without, and those that it stays without: the archived ones. */
  #missing = new Set<string>();
  #elsewhere = new Set<string>();

  /** `refused` is called when the server does not take the token that `token` gives, again and again. */
  constructor(token: () => Promise<string>, refused: () => void, make = connect) {
    const c = (this.client = make({ url: location.origin, token }));
    this.#off.push(
      c.on("status", (s) => {
        this.#onStatus(s);
        if (s.reason?.code === "unauthorized") refused();
      }),
      c.on("entry", (e) => batch(() => this.#onEntry(e))),
      c.on("gap", (g) => {
        if (this.thread.value?.id === g.conversationId) void this.thread.value.load();
        this.refreshSoon();
      }),
      c.on("typing", (t) => this.#onTyping(t.conversationId, t.userId, t.typing)),
      c.on("receipt", (r) => {
        if (r.userId === this.me.value) this.#onOwnRead(r.conversationId, r.read);
        if (this.thread.value?.id === r.conversationId) this.thread.value.mark(r);
      }),
      c.on("presence", (p) => (this.presence.value = new Map(this.presence.value).set(p.userId, p))),
      c.on("outbox", (list) => (this.pending.value = list)),
      c.on("unread", (u) => (this.unreadNotifications.value = u.unreadCount)),
      c.on("notification", (n) => this.#onNotification(n)),
      c.on("error", (p) => {
        if (this.#refusedOfBefore(p)) return;
        if (p.code !== "token_expiring" && p.code !== "history_trimmed" && p.code !== "token") toast(p.message, { bad: true });
      }),
    );
  }

  close(): void {
    for (const off of this.#off) off();
    clearTimeout(this.#reload);
    for (const t of this.#typingEnds.values()) clearTimeout(t);
    if (this.me.value) left.set(this.me.value, { drafts: this.drafts, refused: this.refused.value });
    this.thread.value?.close();
    void this.client.close();
  }

  #onStatus(s: Status): void {
    batch(() => {
      this.status.value = s;
      this.pending.value = [...this.client.outbox];
      if (!this.me.value && this.client.userId) this.#known(this.client.userId);
      if (s.state === "online") {
        this.wasOnline.value = true;
        void this.refresh();
        void this.thread.value?.refresh();
      }
    });
  }

  #known(user: string): void {
    const had = left.get(user);
    left.delete(user);
    for (const [key, text] of had?.drafts ?? []) if (!this.drafts.has(key)) this.drafts.set(key, text);
    if (had) this.refused.value = [...had.refused, ...this.refused.value];
    this.me.value = user;
  }

  /** Reads the list anew, soon: several changes at once make one request. */
  refreshSoon(): void {
    this.#reload ??= setTimeout(() => {
      this.#reload = undefined;
      void this.refresh();
    }, 250);
  }

  async refresh(): Promise<void> {
    if (this.#loading) return this.refreshSoon();
    this.#loading = true;
    const missing = [...this.#missing];
    this.#missing.clear();
    try {
      const page = await this.client.conversations({ limit: pageSize });
      const loaded = new Map(page.items.map((c) => [c.id, c]));
      batch(() => {
        for (const [id, had] of this.conversations.value) {
          const now = loaded.get(id);
          // What came meanwhile is newer than the answer, unless the
          // conversation was deleted and made again under its id.
          if (now && had.headSeq > now.headSeq && had.createdAt === now.createdAt) loaded.set(id, had);
          if (!now && (page.nextCursor || this.removed.value.has(id))) loaded.set(id, had);
        }
        for (const id of missing) if (!loaded.has(id)) this.#elsewhere.add(id);
        this.conversations.value = loaded;
        this.more.value = page.nextCursor;
        this.loaded.value = true;
      });
    } catch (err) {
      // Without a link the banner says enough, and the next one reads them.
      if (!(err instanceof ParleyError && err.code === "network")) failed("The conversations could not be loaded", err);
    } finally {
      this.#loading = false;
    }
  }

  async loadMore(): Promise<void> {
    if (!this.more.value) return;
    try {
      const page = await this.client.conversations({ limit: pageSize, cursor: this.more.value });
      const all = new Map(this.conversations.value);
      for (const c of page.items) all.set(c.id, c);
      this.conversations.value = all;
      this.more.value = page.nextCursor;
    } catch (err) {
      failed("More conversations could not be loaded", err);
    }
  }

  async loadArchive(): Promise<void> {
    this.archive.value = (await this.client.conversations({ limit: 200, archived: true })).items;
  }

  conversation(id: string): Conversation | undefined {
    return this.conversations.value.get(id) ?? this.archive.value?.find((c) => c.id === id);
  }

  #update(id: string, f: (c: Conversation) => Conversation): void {
    const c = this.conversations.value.get(id);
    if (!c) return;
    this.conversations.value = new Map(this.conversations.value).set(id, f(c));
  }

  #onEntry(e: Entry): void {
    const me = this.me.value;
    if ((e.type === "join" || e.type === "leave") && e.userId === me) {
      const gone = new Set(this.removed.value);
      const again = e.type === "join" && gone.delete(e.conversationId);
      if (e.type === "leave") gone.add(e.conversationId);
      this.removed.value = gone;
      this.#elsewhere.delete(e.conversationId);
      const had = this.conversations.value.get(e.conversationId);
      const anew = e.type === "join" && had !== undefined && e.createdAt > had.createdAt && e.seq <= had.headSeq;
      if (anew) this.#toRead.delete(e.conversationId); // deleted, and made again under its id
      // Who is a member again may read what was said in between.
      if ((again || anew) && this.thread.value?.id === e.conversationId) void this.thread.value.load();
      this.refreshSoon();
    }
    if (!this.conversations.value.has(e.conversationId) && !this.#elsewhere.has(e.conversationId)) {
      this.#missing.add(e.conversationId);
      this.refreshSoon();
    }
    this.#update(e.conversationId, (c) => this.#withEntry(c, e));
    if (e.type === "message") this.#onTyping(e.conversationId, e.senderId, false);
    this.thread.value?.take(e);
  }

  #withEntry(c: Conversation, e: Entry): Conversation {
    if (e.seq <= c.headSeq) return c;
    c = { ...c, headSeq: e.seq };
    if (e.type === "message" && !e.deleted) {
      c.lastMessage = e;
      if (e.senderId === this.me.value) return { ...c, readSeq: e.seq, unread: 0 };
      if (e.seq > c.readSeq) c.unread++;
    } else if (e.type === "edit" && c.lastMessage?.seq === e.target) {
      c.lastMessage = { ...c.lastMessage!, content: e.content ?? "" };
    } else if (e.type === "delete") {
      // Which message is now the last, and how many are unread, the server knows.
      if (c.lastMessage?.seq === e.target || (e.target ?? 0) > c.readSeq) this.refreshSoon();
    } else if (e.type === "rename") {
      c.name = e.name ?? "";
    }
    return c;
  }

  #onOwnRead(id: string, read: number): void {
    this.#update(id, (c) => {
      if (read <= c.readSeq) return c;
      if (read < c.headSeq) this.refreshSoon();
      return { ...c, readSeq: read, unread: read >= c.headSeq ? 0 : c.unread };
    });
  }

  /** Says that all of a conversation was read, up to a seq. */
  markRead(id: string, seq: number): void {
    const c = this.conversations.value.get(id);
    if (!c || seq <= c.readSeq || seq <= (this.#toRead.get(id) ?? 0)) return;
    this.#toRead.set(id, seq);
    if (seq >= c.headSeq) this.#update(id, (c) => ({ ...c, unread: 0 }));
    this.client.markRead(id, seq).catch(() => this.#toRead.delete(id));
  }

  #onTyping(conversation: string, user: string, on: boolean): void {
    const key = `${conversation}/${user}`;
    clearTimeout(this.#typingEnds.get(key));
    this.#typingEnds.delete(key);
    const who = (this.typing.value.get(conversation) ?? []).filter((u) => u !== user);
    if (on) {
      who.push(user);
      // The end may be lost on the way.
      this.#typingEnds.set(key, setTimeout(() => this.#onTyping(conversation, user, false), 8000));
    }
    const all = new Map(this.typing.value);
    if (who.length) all.set(conversation, who);
    else all.delete(conversation);
    this.typing.value = all;
  }

  #onNotification(n: Notification): void {
    const had = this.notifications.value;
    if (had) this.notifications.value = [n, ...had.filter((x) => x.id !== n.id)].slice(0, mostNotices);
    if (n.isRead) return;
    const { conversationId, seq } = n.data ?? {};
    if (typeof conversationId !== "string") toast(noticeText(n));
    else if (conversationId !== this.thread.value?.id || document.visibilityState !== "visible") {
      const run = () => go(conversationId, typeof seq === "number" ? seq : undefined);
      toast(`${noticeText(n)} in ${this.title(conversationId)}`, { action: { label: "Open", run } });
    }
  }

  async loadNotifications(): Promise<void> {
    this.notifications.value = (await this.client.notifications({ limit: 50 })).items;
  }

  async readNotifications(what: { ids: string[] } | { all: true }): Promise<void> {
    const { unreadCount } = await this.client.markNotificationsRead(what);
    batch(() => {
      this.unreadNotifications.value = unreadCount;
      this.notifications.value = this.notifications.value?.map((n) =>
        "all" in what || what.ids.includes(n.id) ? { ...n, isRead: true } : n,
      );
    });
  }

  /** Sends a message; it shows at once, and says itself when it was refused. */
  async send(conversationId: string, draft: Draft): Promise<void> {
    const clientId = draft.clientId ?? crypto.randomUUID();
    this.refused.value = this.refused.value.filter((r) => r.clientId !== clientId);
    try {
      const sent = await this.client.sendMessage(conversationId, { ...draft, clientId });
      this.thread.value?.committed(conversationId, { ...draft, clientId }, sent);
    } catch (err) {
      if (err instanceof ParleyError && err.code === "closed") return;
      const reason = err instanceof Error ? err.message : String(err);
      this.refused.value = [...this.refused.value, { ...draft, conversationId, clientId, reason }];
    }
  }

  /** What an earlier page has left and is refused now is shown as what this one sent: its text is not lost. */
  #refusedOfBefore({ clientId, message }: Problem): boolean {
    const p = clientId && this.client.outbox.find((p) => p.clientId === clientId);
    if (!p) return false;
    const { queuedAt: _, owner: _o, ...draft } = p;
    this.refused.value = [...this.refused.value.filter((r) => r.clientId !== clientId), { ...draft, reason: message }];
    if (this.thread.value?.id !== p.conversationId) {
      toast(`A message was not sent: ${message}`, { bad: true, action: { label: "Show", run: () => go(p.conversationId) } });
    }
    return true;
  }

  /** Sends a refused message again, as a new one. */
  resend({ conversationId, reason: _, clientId, ...draft }: Refused): void {
    this.discard(clientId);
    void this.send(conversationId, { ...draft, clientId: crypto.randomUUID() });
  }

  discard(clientId: string): void {
    this.refused.value = this.refused.value.filter((r) => r.clientId !== clientId);
  }

  open(id: string | undefined, at?: number): void {
    const t = this.thread.value;
    if (t?.id === id) {
      if (t && at) void t.jump(at);
      return;
    }
    t?.close();
    this.thread.value = id ? new Thread(this, id, at) : undefined;
  }

  async setArchived(id: string, archived: boolean): Promise<void> {
    await this.client.archiveConversation(id, archived);
    this.#elsewhere.delete(id);
    await Promise.all([this.refresh(), this.loadArchive()]);
  }

  /** What a conversation is called. */
  title(id: string): string {
    const c = this.conversation(id);
    return c?.name || c?.peerId || this.thread.value?.nameOf(id) || id;
  }
}

function activity(c: Conversation): string {
  return c.lastMessage?.createdAt ?? c.createdAt;
}

/** A notification in words. */
export function noticeText(n: Notification): string {
  if (n.type === "mention") return `${n.senderId || "Somebody"} mentioned you`;
  const what = n.type.toLowerCase().replaceAll(/[_.:-]+/g, " ");
  return n.senderId ? `New ${what} from ${n.senderId}` : `New ${what}`;
}
