import { ParleyError, problemOf } from "./errors.js";
import type { Rest } from "./rest.js";
import { backoff, pause } from "./timers.js";
import type { Entry, History, Notification, Problem } from "./types.js";

/** Where the client is in one conversation. */
interface Place {
  seq: number;
  /** The last entry was the user's own leave: the next one is its own join. */
  left?: boolean;
  /** When the last entry that came was committed, and which was the user's last join. */
  at?: string;
  joinId?: string;
  /** What came while the entries before it are fetched. */
  waiting?: Entry[];
  filled?: Promise<void>;
}

/** What a cursor is made of. */
interface Saved {
  after: string;
  seqs: Record<string, number>;
  ats?: Record<string, string>;
  left: string[];
  note?: number;
}

interface SyncPage {
  conversations: { id: string; headSeq: number; entries: Entry[] }[];
  notifications: { unreadCount: number; entries: Notification[] };
  nextCursor: string;
  complete: boolean;
}

export interface Sink {
  entry(e: Entry): void;
  gap(conversationId: string, first: number): void;
  notification(n: Notification): void;
  unread(count: number): void;
  problem(p: Problem): void;
}

/** So much is held while syncing; more is left to the next answer. */
const mostHeld = 5000;

/**
 * Puts what comes, live and by asking, into one stream for each conversation:
 * in the order of seq, each entry once, none left out. It may be given the
 * same entry any number of times.
 */
export class Feed {
  readonly #places = new Map<string, Place>();
  #note: number | undefined;
  #cursor: string | undefined;
  #base: Promise<void> | undefined;
  #held: (Entry | Notification)[] | undefined;
  readonly #tried = new WeakSet<Entry | Notification>();
  #overflow = false;
  #epoch = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(
    private readonly rest: Rest,
    private readonly me: () => string,
    private readonly sink: Sink,
    private readonly waits: { min: number; max: number },
    private readonly closing: AbortSignal,
    after: string | undefined,
  ) {
    if (after) this.#restore(after);
  }

  cursor(): string | undefined {
    if (this.#cursor === undefined) return undefined;
    const ats: Record<string, string> = {};
    const saved: Saved = { after: this.#cursor, seqs: {}, ats, left: [] };
    for (const [id, p] of this.#places) {
      saved.seqs[id] = p.seq;
      if (p.at) ats[id] = p.at;
      if (p.left) saved.left.push(id);
    }
    if (this.#note !== undefined) saved.note = this.#note;
    return JSON.stringify(saved);
  }

  #restore(after: string): void {
    let saved: Saved;
    try {
      saved = JSON.parse(after) as Saved;
      if (typeof saved.after !== "string" || typeof saved.seqs !== "object") throw new Error();
    } catch {
      throw new ParleyError("invalid", "after is not what cursor() gave", { field: "after" });
    }
    this.#cursor = saved.after;
    this.#note = saved.note;
    for (const [id, seq] of Object.entries(saved.seqs)) {
      const at = saved.ats?.[id];
      this.#places.set(id, at ? { seq, at } : { seq });
    }
    for (const id of saved.left ?? []) this.#places.get(id)!.left = true;
  }

  /**
   * Makes sure that there is a place to go on from. Whoever loads history
   * after it gets all that does not come as an event.
   */
  base(): Promise<void> {
    if (this.#cursor !== undefined) return Promise.resolve();
    this.#base ??= this.rest
      .get<SyncPage>("/v1/sync")
      .then((page) => {
        for (const c of page.conversations) this.#begin(c.id, c.headSeq);
        this.#cursor = page.nextCursor;
        this.sink.unread(page.notifications.unreadCount);
      })
      .finally(() => (this.#base = undefined));
    return this.#base;
  }

  #begin(id: string, head: number): void {
    const p = this.#places.get(id);
    if (!p) this.#places.set(id, { seq: head });
    else {
      // The cursor was lost and the place was not: what lies between is to be
      // loaded. It may lie below the place, or at it, where a database was set
      // back by a restore: seqs come again then, for other entries.
      const { at, joinId } = p;
      this.#places.set(id, { seq: head, ...(at && { at }), ...(joinId && { joinId }) });
      this.sink.gap(id, head + 1);
    }
  }

  /** A new connection: what comes live is held until the next catchUp has ended. */
  hold(): void {
    this.#epoch++;
    this.#held = [];
    for (const p of this.#places.values()) delete p.waiting; // it comes again
  }

  /** Takes what the connection brings. */
  live(e: Entry | Notification): void {
    if (this.closing.aborted) return;
    if (this.#held) {
      if (this.#held.length >= mostHeld) {
        this.#held = [];
        this.#overflow = true;
      }
      this.#held.push(e);
    } else if (this.#strange(e)) {
      void this.#again(e);
    } else if ("conversationId" in e) {
      void this.#step(e);
    } else {
      this.#notify(e);
    }
  }

  /** Reports whether something must be missing before this, which a sync alone can tell. */
  #strange(e: Entry | Notification): boolean {
    if (this.#tried.has(e)) return false; // there is nothing before it
    if (!("conversationId" in e)) return this.#note !== undefined && e.seq > this.#note + 1;
    const p = this.#places.get(e.conversationId);
    if (!p) return !this.#joins(e); // a stay begins with a join
    // Between a leave and a join that does not follow it there may have been
    // another stay.
    return p.left === true && !p.waiting && e.seq > p.seq + (this.#joins(e) ? 1 : 0);
  }

  async #again(e: Entry | Notification): Promise<void> {
    const epoch = this.#epoch;
    this.#held = [e];
    this.#tried.add(e);
    for (let n = 0; epoch === this.#epoch && !this.closing.aborted; n++) {
      try {
        return await this.catchUp();
      } catch (err) {
        if (this.closing.aborted) return;
        this.sink.problem(problemOf(err));
        await pause(backoff(n, this.waits), this.closing);
      }
    }
  }

  #joins(e: Entry): boolean {
    return e.type === "join" && e.userId === this.me();
  }

  /** The server tells that a conversation begins later than it was to be read. */
  trimmed(conversationId: string, first: number): void {
    const p = this.#places.get(conversationId);
    if (!p || this.#held || p.waiting || first <= p.seq + 1) return;
    p.seq = first - 1;
    this.sink.gap(conversationId, first);
  }

  /** Fetches all that was missed; one runs at a time. */
  catchUp(): Promise<void> {
    const run = this.#running.then(() => this.#catchUp());
    this.#running = run.catch(() => {});
    return run;
  }

  async #catchUp(): Promise<void> {
    const epoch = this.#epoch;
    const mine = !this.#held; // nothing was missed: held back for order alone
    this.#held ??= [];
    try {
      await this.#ask();
    } catch (err) {
      if (mine && epoch === this.#epoch) this.#release();
      throw err;
    }
    if (epoch === this.#epoch) this.#release();
  }

  async #ask(): Promise<void> {
    for (let anew = false; ; ) {
      await this.base();
      const epoch = this.#epoch;
      this.#overflow = false;
      let page: SyncPage;
      try {
        page = await this.rest.get<SyncPage>("/v1/sync", { after: this.#cursor });
      } catch (err) {
        if (anew || !(err instanceof ParleyError) || err.code !== "invalid") throw err;
        anew = true;
        this.sink.problem(problemOf(err));
        this.#cursor = undefined; // of another user or server, or from before a restore: begin anew
        this.#note = undefined;
        continue;
      }
      for (const c of page.conversations) for (const e of c.entries) await this.#step(e);
      for (const n of page.notifications.entries) this.#notify(n);
      if (this.closing.aborted) throw new ParleyError("closed", "the client is closed");
      if (epoch !== this.#epoch) continue; // what hold() gave up is in this answer alone
      this.#cursor = page.nextCursor;
      this.sink.unread(page.notifications.unreadCount);
      if (page.complete && !this.#overflow) return;
    }
  }

  #release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const e of held) this.live(e);
  }

  #notify(n: Notification): void {
    if (this.closing.aborted) return;
    if (this.#note !== undefined && n.seq <= this.#note) return;
    this.#note = n.seq;
    this.sink.notification(n);
  }

  /** Takes the next entry of a conversation, whatever it is. The promise ends when it was delivered. */
  #step(e: Entry): Promise<void> | undefined {
    if (this.closing.aborted) return undefined; // it does not count as had
    const p = this.#places.get(e.conversationId);
    if (!p) return void this.#deliver({ seq: 0 }, e);
    if (p.waiting) {
      if (p.waiting.length < mostHeld) p.waiting.push(e); // what is left out is a gap again
      return p.filled;
    }
    const join = this.#joins(e);
    if (e.seq <= p.seq) {
      // Below the place it was had before. But a conversation that was deleted
      // and made again under its id begins at 1, with a join that is new. So is
      // any where nothing has come yet: a place begins with a head.
      if (join && (!p.at || (e.id !== p.joinId && e.createdAt > p.at))) this.#deliver({ seq: 0 }, e);
    } else if (p.left && !join) {
      p.seq = e.seq; // not for this user
    } else if (e.seq === p.seq + 1 || p.left) {
      this.#deliver(p, e);
    } else {
      p.waiting = [e];
      return (p.filled = this.#fill(e.conversationId, p, p.waiting));
    }
    return undefined;
  }

  #deliver(p: Place, e: Entry): void {
    const mine = e.userId === this.me();
    p.seq = e.seq;
    p.at = e.createdAt;
    p.left = mine && e.type === "leave";
    if (mine && e.type === "join") p.joinId = e.id;
    this.#places.set(e.conversationId, p);
    this.sink.entry(e);
  }

  /** Fetches what is missing before the first that waits, and goes on with all. */
  async #fill(id: string, p: Place, waiting: Entry[]): Promise<void> {
    const to = waiting[0]!.seq;
    const given = () => p.waiting !== waiting; // given up: the next sync has it
    for (let n = 0; !given() && p.seq + 1 < to && !this.closing.aborted; ) {
      let h: History<Entry>;
      try {
        h = await this.rest.get(`/v1/conversations/${id}/messages`, { after: p.seq, limit: 200 });
        n = 0;
      } catch (err) {
        if (err instanceof ParleyError && (err.status === 403 || err.status === 404)) {
          h = { items: [], headSeq: to, firstSeq: to };
        } else {
          await pause(backoff(n++, this.waits), this.closing);
          continue;
        }
      }
      if (given() || this.closing.aborted) return;
      const items = h.items.filter((e) => e.seq > p.seq && e.seq < to);
      const first = items[0]?.seq ?? (h.firstSeq > p.seq + 1 ? Math.min(h.firstSeq, to) : to);
      if (first > p.seq + 1) {
        p.seq = first - 1;
        this.sink.gap(id, first);
      }
      for (const e of items) {
        if (this.closing.aborted) return;
        if (p.left && !this.#joins(e)) p.seq = e.seq;
        else this.#deliver(p, e);
      }
    }
    if (given() || this.closing.aborted) return;
    delete p.waiting;
    for (const e of waiting) await this.#step(e);
  }
}
