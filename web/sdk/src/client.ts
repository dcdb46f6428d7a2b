import { Emitter } from "./emitter.js";
import { ParleyError } from "./errors.js";
import { Feed } from "./feed.js";
import { Keeper } from "./keeper.js";
import type { Link } from "./link.js";
import { Marks, mostMembers } from "./marks.js";
import { indexedDBOutbox, memoryOutbox } from "./outbox.js";
import { Rest } from "./rest.js";
import { Sender } from "./sender.js";
import { Tokens } from "./tokens.js";
import { uid } from "./timers.js";
import { TypingState } from "./typing.js";
import type * as t from "./types.js";

/** What an id may be. Others would be topics of another kind. */
const id = /^[A-Za-z0-9_.@:-]{1,64}$/;

/** The refusal of an id that cannot be one. */
function refused(conversationId: string): Promise<never> | undefined {
  if (id.test(conversationId)) return undefined;
  const text = "a conversation's id has 1 to 64 characters of A-Z a-z 0-9 _ . @ : -";
  return Promise.reject(new ParleyError("invalid", text, { field: "conversationId" }));
}

const conversation = (id: string) => `/v1/conversations/${encodeURIComponent(id)}`;

/** Parts of one user's connection, put together. */
export class ParleyClient implements t.Client {
  readonly #events = new Emitter<t.Events>();
  readonly #stop = new AbortController();
  readonly #rest: Rest;
  readonly #feed: Feed;
  readonly #sender: Sender;
  readonly #marks: Marks;
  readonly #typing: TypingState;
  readonly #keeper: Keeper;
  readonly #nudge = () => {
    this.#keeper.nudge();
    this.#sender.look();
  };
  readonly #seen = () => document.visibilityState === "visible" && this.#nudge();
  readonly #base: string;
  readonly #outbox: t.OutboxStore | undefined;
  #userId = "";
  #link: Link | undefined;
  #presence: string | undefined;
  #closing: Promise<void> | undefined;

  constructor(o: t.Options) {
    if (typeof o.token !== "function") throw new ParleyError("invalid", "token must be a function", { field: "token" });
    this.#base = baseOf(o.url);
    this.#outbox = o.outbox;
    const waits = o.backoff ?? { min: 500, max: 30_000 };
    const timeout = o.timeout ?? 15_000;
    const closing = this.#stop.signal;
    const problem = (p: t.Problem) => this.#events.emit("error", p);
    const tokens = new Tokens(o.token);
    this.#rest = new Rest(this.#base, tokens, timeout, closing);
    this.#feed = new Feed(
      this.#rest,
      () => this.#userId,
      {
        entry: (e) => this.#entry(e),
        gap: (conversationId, first) => this.#events.emit("gap", { conversationId, first }),
        notification: (n) => this.#events.emit("notification", n),
        unread: (unreadCount) => this.#events.emit("unread", { unreadCount }),
        problem,
      },
      waits,
      closing,
      o.after,
    );
    this.#sender = new Sender({ outbox: (all) => this.#events.emit("outbox", all), problem }, waits, closing);
    this.#marks = new Marks((id) => this.#isSmall(id), waits, closing);
    this.#typing = new TypingState((e) => this.#events.emit("typing", e));
    this.#keeper = new Keeper(
      { url: `${this.#base.replace(/^http/, "ws")}/mqtt`, clientId: o.clientId ?? `js-${uid()}`, timeout, waits },
      tokens,
      {
        user: (id) => this.#isUser(id),
        status: (s) => this.#status(s),
        problem,
        message: (topic, text) => this.#message(topic, text),
        begin: (link) => this.#begin(link),
        up: (link) => {
          this.#sender.up(link);
          this.#marks.up(link);
        },
        down: () => this.#down(),
        catchUp: () => this.#feed.catchUp(),
      },
      closing,
    );
    if (this.#outbox) void this.#sender.open(this.#outbox);
    globalThis.addEventListener?.("online", this.#nudge);
    globalThis.document?.addEventListener("visibilitychange", this.#seen);
    // A moment later, so that nothing is emitted before the caller can listen.
    queueMicrotask(() => this.#keeper.start());
  }

  get userId(): string {
    return this.#userId;
  }

  get status(): t.Status {
    return this.#keeper.status;
  }

  get outbox(): readonly t.Pending[] {
    return this.#sender.outbox;
  }

  on<K extends keyof t.Events>(event: K, f: (e: t.Events[K]) => void): () => void {
    return this.#events.on(event, f);
  }

  // What the connection brings.

  #isUser(id: string): void {
    if (this.#userId) return;
    this.#userId = id;
    if (!this.#outbox) {
      const durable = typeof indexedDB !== "undefined";
      void this.#sender.open(durable ? indexedDBOutbox(`parley-outbox ${this.#base} ${id}`) : memoryOutbox());
    }
  }

  async #begin(link: Link): Promise<void> {
    this.#link = link;
    this.#feed.hold();
    if (this.#presence) this.#sayPresence(link).catch(() => {});
    // Before anything is sent, so that the user's own messages are events.
    await this.#feed.base().catch(() => {});
  }

  #down(): void {
    this.#link = undefined;
    this.#sender.down();
    this.#marks.down();
  }

  #status(s: t.Status): void {
    if (s.state === "closed") this.#release();
    this.#events.emit("status", s);
  }

  #message(topic: string, text: string): void {
    if (this.#stop.signal.aborted) return; // the connection is still ending
    const [root, id, kind, more] = topic.split("/") as [string, string, string, string?];
    let e: unknown;
    try {
      e = JSON.parse(text);
    } catch {
      return this.#events.emit("error", { code: "invalid", message: "the server sent what is not JSON", topic });
    }
    if (root === "chat") {
      if (kind === "messages") this.#feed.live(e as t.Entry);
      else if (kind === "typing") this.#typing.heard({ ...(e as t.Typing), conversationId: id });
      else if (kind === "receipts") this.#events.emit("receipt", { ...(e as t.Receipt), conversationId: id });
    } else if (kind === "presence") this.#events.emit("presence", e as t.Presence);
    else if (kind === "unread") this.#events.emit("unread", e as { unreadCount: number });
    else if (kind === "notifications" && !more) this.#feed.live(e as t.Notification);
    else if (kind === "errors") this.#error(e as t.Problem & { first?: number });
  }

  #error(p: t.Problem & { first?: number }): void {
    if (p.code === "token_expiring") this.#keeper.expiring();
    else if (p.code === "history_trimmed") {
      const [root, id] = p.topic?.split("/") ?? [];
      if (root === "chat" && id && p.first) this.#feed.trimmed(id, p.first);
    } else this.#events.emit("error", p);
  }

  #entry(e: t.Entry): void {
    this.#typing.stopped(e.conversationId, e.userId ?? e.senderId, e.type);
    this.#events.emit("entry", e);
    if (e.type === "message" || e.type === "edit" || e.type === "delete" || e.type === "reaction") {
      this.#events.emit(e.type, e);
    }
    if (e.type === "leave" && e.userId === this.#userId) this.#marks.left(e.conversationId);
    else if (e.senderId !== this.#userId) this.#marks.delivered(e);
  }

  async #isSmall(id: string): Promise<boolean> {
    const page = await this.#rest.get<t.Page<t.Member>>(`${conversation(id)}/members`, { limit: mostMembers });
    return page.nextCursor === undefined;
  }

  // Sending.

  sendMessage(conversationId: string, message: string | t.Draft): Promise<t.Sent> {
    const bad = refused(conversationId);
    if (bad) return bad;
    const draft = typeof message === "string" ? { content: message } : message;
    const clientId = draft.clientId ?? uid();
    this.#typing.sent(conversationId);
    return this.#sender.message({ ...draft, clientId, conversationId, queuedAt: new Date().toISOString() });
  }

  editMessage(conversationId: string, target: number, content: string): Promise<t.Sent> {
    return refused(conversationId) ?? this.#sender.other(conversationId, { type: "edit", target, content });
  }

  deleteMessage(conversationId: string, target: number): Promise<t.Sent> {
    return refused(conversationId) ?? this.#sender.other(conversationId, { type: "delete", target });
  }

  react(conversationId: string, target: number, emoji: string, remove = false): Promise<t.Sent> {
    return refused(conversationId) ?? this.#sender.other(conversationId, { type: "reaction", target, emoji, ...(remove && { remove }) });
  }

  typing(conversationId: string, typing: boolean): void {
    if (this.#link && id.test(conversationId) && this.#typing.says(conversationId, typing)) {
      this.#link.tell(`chat/${conversationId}/typing`, JSON.stringify({ typing }));
    }
  }

  markRead(conversationId: string, seq: number): Promise<void> {
    return refused(conversationId) ?? this.#marks.read(conversationId, seq);
  }

  async setPresence(status: "online" | "away" | "invisible"): Promise<void> {
    this.#presence = status;
    if (this.#link) await this.#sayPresence(this.#link);
  }

  async #sayPresence(link: Link): Promise<void> {
    await link.publish(`users/${this.#userId}/presence`, JSON.stringify({ status: this.#presence }));
  }

  // Asking.

  conversations(o: { limit?: number; cursor?: string; archived?: boolean } = {}): Promise<t.Page<t.Conversation>> {
    return this.#rest.get("/v1/conversations", { ...o, archived: o.archived || undefined });
  }

  conversation(id: string): Promise<t.ConversationDetails> {
    return this.#rest.get(conversation(id));
  }

  createConversation(c: t.NewConversation): Promise<t.ConversationDetails> {
    return this.request("POST", "/v1/conversations", c);
  }

  renameConversation(id: string, name: string): Promise<void> {
    return this.#do("PATCH", conversation(id), { name });
  }

  archiveConversation(id: string, archived: boolean): Promise<void> {
    return this.#do("PATCH", `${conversation(id)}/me`, { archived });
  }

  async members(conversationId: string): Promise<t.Member[]> {
    const all: t.Member[] = [];
    for (let cursor: string | undefined; ; ) {
      const page: t.Page<t.Member> = await this.#rest.get(`${conversation(conversationId)}/members`, { limit: 200, cursor });
      all.push(...page.items);
      if (!(cursor = page.nextCursor)) return all;
    }
  }

  addMember(conversationId: string, userId: string, role?: t.Member["role"]): Promise<void> {
    return this.#do("PUT", `${conversation(conversationId)}/members/${encodeURIComponent(userId)}`, role ? { role } : {});
  }

  removeMember(conversationId: string, userId: string): Promise<void> {
    return this.#do("DELETE", `${conversation(conversationId)}/members/${encodeURIComponent(userId)}`);
  }

  async receipts(conversationId: string): Promise<Omit<t.Receipt, "conversationId">[]> {
    return (await this.#rest.get<t.Page<t.Receipt>>(`${conversation(conversationId)}/receipts`)).items;
  }

  async history(conversationId: string, o: t.HistoryOptions = {}): Promise<t.History<t.Entry>> {
    await this.#feed.base();
    return this.#rest.get(`${conversation(conversationId)}/messages`, { ...o });
  }

  async messages(conversationId: string, o: t.HistoryOptions = {}): Promise<t.History<t.Folded>> {
    await this.#feed.base();
    return this.#rest.get(`${conversation(conversationId)}/messages`, { ...o, view: "folded" });
  }

  search(q: string, o: { conversation?: string; limit?: number; cursor?: string } = {}): Promise<t.Page<t.Entry>> {
    return this.#rest.get("/v1/search", { q, ...o });
  }

  async presence(users: string[]): Promise<t.Presence[]> {
    if (users.length === 0) return [];
    return (await this.#rest.get<t.Page<t.Presence>>("/v1/presence", { users: users.join(",") })).items;
  }

  notifications(o: { unread?: boolean; limit?: number; cursor?: string } = {}): Promise<t.Page<t.Notification>> {
    return this.#rest.get("/v1/notifications", { ...o, unread: o.unread || undefined });
  }

  markNotificationsRead(what: { ids: string[] } | { upTo: number } | { all: true }): Promise<{ unreadCount: number }> {
    return this.request("POST", "/v1/notifications/read", what);
  }

  request<T>(method: string, path: string, body?: unknown): Promise<T> {
    return this.#rest.request<T>(method, path, { body });
  }

  async #do(method: string, path: string, body?: unknown): Promise<void> {
    await this.#rest.request(method, path, { body });
  }

  sync(): Promise<void> {
    return this.#feed.catchUp();
  }

  cursor(): string | undefined {
    return this.#feed.cursor();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const stored = this.#sender.close();
    this.#stop.abort();
    this.#marks.close();
    await Promise.all([this.#keeper.close(), stored]);
  }

  #release(): void {
    globalThis.removeEventListener?.("online", this.#nudge);
    globalThis.document?.removeEventListener("visibilitychange", this.#seen);
    this.#typing.close();
    if (this.#stop.signal.aborted) return;
    void this.#sender.close();
    this.#stop.abort();
    this.#marks.close();
  }
}

/** The server's address without a slash at its end. */
function baseOf(url: string): string {
  let u: URL;
  try {
    u = new URL(url, globalThis.location?.href);
  } catch {
    throw new ParleyError("invalid", `url is not one: ${url}`, { field: "url" });
  }
  if (u.protocol !== "http:" && u.protocol !== "https:") {
    throw new ParleyError("invalid", "url must begin with http:// or https://", { field: "url" });
  }
  return u.origin + u.pathname.replace(/\/+$/, "");
}

