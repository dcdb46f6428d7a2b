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
  /**
   * Where unsent messages wait. Left out, it is IndexedDB in browsers, one
   * database for each server and user, and memory elsewhere.
   */
  outbox?: OutboxStore;
  /** Where to go on: a cursor() of before. Without one, events begin with what comes from now on. */
  after?: string;
  /** Shortest and longest wait before a reconnect, in milliseconds; 500 and 30,000. Waits are jittered. */
  backoff?: { min: number; max: number };
  /** How long an answer of the server is waited for, in milliseconds; 15,000. */
  timeout?: number;
}

/** What a message may carry; content or mediaUrl must be there. */
export interface Draft {
  content?: string;
  mediaUrl?: string;
  replyTo?: number;
  mentions?: string[];
  /** Makes the send safe to repeat: the same one again adds nothing. Made up when left out. */
  clientId?: string;
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

/** How far a member has read a conversation, and how far its devices have got it. */
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
  devices: number;
  lastSeen?: string;
}

export interface Notification {
  id: string;
  seq: number;
  recipientId: string;
  senderId: string;
  type: string;
  data?: Record<string, unknown>;
  collapse?: string;
  isRead: boolean;
  deleted?: boolean;
  createdAt: string;
}

/** What the server or the link has against something that was asked. */
export interface Problem {
  /**
   * The server's: "invalid", "unauthorized", "forbidden", "not_found",
   * "conflict", "rate_limited", "unavailable", "internal".
   * The link's: "network", "timeout", "closed", "token" (token() failed or gave
   * none), "taken_over" (another client has the same clientId), "kicked" (an
   * administrator ended the connection), "outbox" (unsent messages cannot be
   * stored and wait in memory alone).
   */
  code: string;
  message: string;
  topic?: string;
  clientId?: string;
  /** The parameter or key that is wrong, where one is. */
  field?: string;
}

/**
 * Where the link stands.
 *  connecting: no connection yet, or lost and being made again
 *  syncing:    connected, and fetching what was missed
 *  online:     connected, and everything committed so far was delivered
 *  offline:    waiting before the next try; `retryAt` says until when (ms since 1970), `reason` why
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
  /** The tab that it was written in. */
  owner?: string;
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

interface ConversationBase {
  id: string;
  /** Empty if it has none. */
  name: string;
  /** Empty for a direct conversation, and where nobody is left. */
  ownerId: string;
  createdAt: string;
  headSeq: number;
  /** It is the direct conversation of two users. */
  direct?: boolean;
  /** "join": members read nothing from before they joined. */
  history?: "start" | "join";
}

/** A conversation in the caller's list. */
export interface Conversation extends ConversationBase {
  readSeq: number;
  unread: number;
  /** Of a direct conversation: the other user. */
  peerId?: string;
  archived?: boolean;
  /** The newest message that is not deleted. */
  lastMessage?: Entry;
}

/** A conversation by itself. */
export interface ConversationDetails extends ConversationBase {
  /** The oldest entry that is still held. */
  firstSeq: number;
  /** The first thousand, in the order in which they joined. */
  members: Member[];
  /** How many there are; left out where `members` holds them all. */
  memberCount?: number;
  retention?: Record<string, unknown>;
}

/** What a new conversation is; `direct` stands alone. */
export interface NewConversation {
  id?: string;
  name?: string;
  members?: string[];
  history?: "start" | "join";
  /** The other user: the one direct conversation of the two is made, or found. */
  direct?: string;
}

export interface Page<T> {
  items: T[];
  nextCursor?: string;
}

/** A part of a conversation's history, in the order of seq. There is no cursor: page by `before` or `after`. */
export interface History<T> {
  items: T[];
  /** The newest entry of the conversation. */
  headSeq: number;
  /** The oldest entry that is still held. */
  firstSeq: number;
}

/** A message with its edits and reactions applied (view=folded). */
export interface Folded extends Entry {
  editedAt?: string;
  /** `userIds` are the first fifty; `count` is all. */
  reactions?: { emoji: string; count: number; userIds: string[] }[];
}

/** Where unsent messages wait. Each call is one step that holds as a whole. */
export interface OutboxStore {
  /** All that waits, oldest first. */
  load(): Promise<Pending[]>;
  /** Adds one behind the others; one whose clientId is there changes nothing. */
  put(p: Pending): Promise<void>;
  remove(clientId: string): Promise<void>;
}

/** With neither `before` nor `after`, the newest; `limit` is 50 unless given, at most 200. */
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
  /** Messages that wait to be committed, oldest first. */
  readonly outbox: readonly Pending[];

  /** Calls f for each event until the function that is returned is called. */
  on<K extends keyof Events>(event: K, f: (e: Events[K]) => void): () => void;

  /**
   * Sends a message. It waits in the outbox, over losses of the link and over
   * reloads of the page, until it is committed; the promise then resolves. It
   * rejects with a ParleyError when the server refuses for good, and with the
   * code "closed" when the client is closed before: the message then stays in
   * the outbox for the next client.
   */
  sendMessage(conversationId: string, message: string | Draft): Promise<Sent>;
  /** These wait like messages, but not over a reload. */
  editMessage(conversationId: string, target: number, content: string): Promise<Sent>;
  deleteMessage(conversationId: string, target: number): Promise<Sent>;
  react(conversationId: string, target: number, emoji: string, remove?: boolean): Promise<Sent>;

  /** Says that the user types (at most one publish every few seconds) or has stopped. */
  typing(conversationId: string, typing: boolean): void;
  /** Moves what the user has read forward; waits for the link where there is none. */
  markRead(conversationId: string, seq: number): Promise<void>;
  /** Holds for this client until it says otherwise, over reconnects too. */
  setPresence(status: "online" | "away" | "invisible"): Promise<void>;

  conversations(o?: { limit?: number; cursor?: string; archived?: boolean }): Promise<Page<Conversation>>;
  conversation(id: string): Promise<ConversationDetails>;
  createConversation(c: NewConversation): Promise<ConversationDetails>;
  renameConversation(id: string, name: string): Promise<void>;
  archiveConversation(id: string, archived: boolean): Promise<void>;
  /** All members, in the order in which they joined. */
  members(conversationId: string): Promise<Member[]>;
  /** Adds a member, or sets its role. */
  addMember(conversationId: string, userId: string, role?: Member["role"]): Promise<void>;
  /** Removes a member; the user itself leaves. */
  removeMember(conversationId: string, userId: string): Promise<void>;
  receipts(conversationId: string): Promise<Omit<Receipt, "conversationId">[]>;

  /**
   * Entries in seq order, as committed. What is not in the answer of the
   * newest entries comes as an event: load first and listen from the start,
   * and nothing is missed.
   */
  history(conversationId: string, o?: HistoryOptions): Promise<History<Entry>>;
  /** Messages in seq order, edits and reactions applied. An answer with fewer than `limit` is the last one. */
  messages(conversationId: string, o?: HistoryOptions): Promise<History<Folded>>;
  search(q: string, o?: { conversation?: string; limit?: number; cursor?: string }): Promise<Page<Entry>>;
  presence(users: string[]): Promise<Presence[]>;

  notifications(o?: { unread?: boolean; limit?: number; cursor?: string }): Promise<Page<Notification>>;
  markNotificationsRead(what: { ids: string[] } | { upTo: number } | { all: true }): Promise<{ unreadCount: number }>;

  /**
   * Any other REST operation, as "GET", "/v1/me/preferences": with the token,
   * which is renewed where it has expired. Rejects with a ParleyError.
   */
  request<T>(method: string, path: string, body?: unknown): Promise<T>;

  /** Fetches what was missed now; done by itself after each reconnect. */
  sync(): Promise<void>;
  /**
   * Where this client is in all conversations: Options.after of a later one.
   * Read in the handler of an entry it counts that entry as had. Undefined
   * until the first sync.
   */
  cursor(): string | undefined;

  /** Ends the connection; what is in the outbox stays there. */
  close(): Promise<void>;
}
