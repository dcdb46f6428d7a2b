// The public types of @parley/client. Names of keys are those on the wire.

/** How a client is made. */
export interface Options {
  /** The server, "https://chat.example.com"; MQTT is at /mqtt below it, REST at /v1. */
  url: string;
  /**
   * Gives a token. Called before each connection, before the token at hand
   * expires, and after one was refused; never twice at the same time.
   */
  token: () => Promise<string>;
  /** Names this device or tab within the user; made up when left out. Two that run at once must differ. */
  clientId?: string;
  /** Where unsent messages wait; IndexedDB in browsers and memory elsewhere unless given. */
  outbox?: OutboxStore;
  /** Where to go on: a cursor() of before. Without one, events begin with what comes from now on. */
  after?: string;
  /** Shortest and longest wait before a reconnect, in milliseconds; 500 and 30,000. Waits are jittered. */
  backoff?: { min: number; max: number };
}

/** What a message may carry; content or mediaUrl must be there. */
export interface Draft {
  content?: string;
  mediaUrl?: string;
  replyTo?: number;
  mentions?: string[];
}

/** A message that is committed. */
export interface Sent {
  id: string;
  seq: number;
  createdAt: string;
}

/** One committed element of a conversation's stream. */
export interface Entry {
  id: string;
  conversationId: string;
  seq: number;
  type: "message" | "edit" | "delete" | "reaction" | "join" | "leave" | "rename";
  senderId: string;
  content?: string;
  mediaUrl?: string;
  replyTo?: number;
  mentions?: string[];
  target?: number;
  emoji?: string;
  remove?: boolean;
  userId?: string;
  name?: string;
  clientId?: string;
  createdAt: string;
  deleted?: boolean;
}

export interface Typing {
  conversationId: string;
  userId: string;
  typing: boolean;
}

export interface Receipt {
  conversationId: string;
  userId: string;
  read: number;
  delivered: number;
  at: string;
}

export interface Presence {
  userId: string;
  status: "online" | "away" | "invisible" | "offline";
  devices?: number;
  lastSeen?: string;
}

export interface Notification {
  id: string;
  seq: number;
  recipientId: string;
  senderId?: string;
  type: string;
  data?: Record<string, unknown>;
  isRead: boolean;
  createdAt: string;
}

/** What the server or the link has against something that was asked. */
export interface Problem {
  /** "forbidden", "invalid", "not_found", "rate_limited", "unavailable", "history_trimmed", … */
  code: string;
  message: string;
  topic?: string;
  clientId?: string;
}

/**
 * Where the link stands.
 *  connecting: no connection yet, or lost and being made again
 *  syncing:    connected, and fetching what was missed
 *  online:     connected, and everything committed so far was delivered
 *  offline:    waiting before the next try; `retryAt` says until when (ms since 1970)
 *  closed:     ended for good, by close() or because `reason` says that trying again is useless
 */
export interface Status {
  state: "connecting" | "syncing" | "online" | "offline" | "closed";
  retryAt?: number;
  reason?: Problem;
}

/** A message in the outbox; it goes when it is committed or refused for good. */
export interface Pending extends Draft {
  conversationId: string;
  clientId: string;
  queuedAt: string;
}

/**
 * Events. `message`, `edit`, `delete` and `reaction` of one conversation come
 * in the order of seq, once each, without a gap, whatever the link did;
 * `entry` is all of them, join, leave and rename as well. `gap` says that
 * history does not reach back to where the client was: load it anew.
 */
export interface Events {
  message: Entry;
  edit: Entry;
  delete: Entry;
  reaction: Entry;
  entry: Entry;
  typing: Typing;
  receipt: Receipt;
  presence: Presence;
  notification: Notification;
  unread: { unreadCount: number };
  gap: { conversationId: string; first: number };
  outbox: Pending[];
  error: Problem;
  status: Status;
}

export interface Member {
  userId: string;
  role: "owner" | "admin" | "member";
  joinedAt: string;
}

/** A conversation in the caller's list. */
export interface Conversation {
  id: string;
  name?: string;
  ownerId?: string;
  createdAt: string;
  headSeq: number;
  readSeq: number;
  unread: number;
  lastMessage?: Entry;
  archived?: boolean;
  members?: Member[];
}

export interface Page<T> {
  items: T[];
  nextCursor?: string;
}

/** A message with its edits and reactions applied (view=folded); the owner of the SDK holds this to the OpenAPI document. */
export interface Folded extends Entry {
  editedAt?: string;
  reactions?: { emoji: string; userIds: string[] }[];
}

/** Where unsent messages wait. Each call is one step that holds as a whole. */
export interface OutboxStore {
  /** All that waits, oldest first. */
  load(): Promise<Pending[]>;
  put(p: Pending): Promise<void>;
  remove(clientId: string): Promise<void>;
}

export interface HistoryOptions {
  before?: number;
  after?: number;
  limit?: number;
}

/** A user's connection to Parley. Made by connect(). */
export interface Client {
  /** The user, from the token; empty until the first token is there. */
  readonly userId: string;
  readonly status: Status;

  /** Calls f for each event until the function that is returned is called. */
  on<K extends keyof Events>(event: K, f: (e: Events[K]) => void): () => void;

  /**
   * Sends a message. It waits in the outbox, over losses of the link and over
   * reloads of the page, until it is committed; the promise then resolves. It
   * rejects with a ParleyError when the server refuses for good.
   */
  sendMessage(conversationId: string, message: string | Draft): Promise<Sent>;
  editMessage(conversationId: string, target: number, content: string): Promise<Sent>;
  deleteMessage(conversationId: string, target: number): Promise<Sent>;
  react(conversationId: string, target: number, emoji: string, remove?: boolean): Promise<Sent>;

  /** Says that the user types (at most one publish every few seconds) or has stopped. */
  typing(conversationId: string, typing: boolean): void;
  markRead(conversationId: string, seq: number): Promise<void>;
  setPresence(status: "online" | "away" | "invisible"): Promise<void>;

  conversations(o?: { limit?: number; cursor?: string; archived?: boolean }): Promise<Page<Conversation>>;
  conversation(id: string): Promise<Conversation>;
  createConversation(c: { id?: string; name?: string; members?: string[]; direct?: string }): Promise<Conversation>;
  renameConversation(id: string, name: string): Promise<void>;
  archiveConversation(id: string, archived: boolean): Promise<void>;
  members(conversationId: string): Promise<Member[]>;
  addMember(conversationId: string, userId: string, role?: Member["role"]): Promise<void>;
  removeMember(conversationId: string, userId: string): Promise<void>;
  receipts(conversationId: string): Promise<Omit<Receipt, "conversationId">[]>;

  /** Entries in seq order, as committed. */
  history(conversationId: string, o?: HistoryOptions): Promise<Page<Entry>>;
  /** Messages in seq order, edits and reactions applied. */
  messages(conversationId: string, o?: HistoryOptions): Promise<Page<Folded>>;
  search(q: string, o?: { conversation?: string; limit?: number; cursor?: string }): Promise<Page<Entry>>;
  presence(users: string[]): Promise<Presence[]>;

  notifications(o?: { unread?: boolean; limit?: number; cursor?: string }): Promise<Page<Notification>>;
  markNotificationsRead(what: { ids: string[] } | { upTo: number } | { all: true }): Promise<{ unreadCount: number }>;

  /** Fetches what was missed now; done by itself after each reconnect. */
  sync(): Promise<void>;
  /** Where this client is in all conversations: Options.after of a later one. */
  cursor(): string | undefined;

  /** Ends the connection; what is in the outbox stays there. */
  close(): Promise<void>;
}
