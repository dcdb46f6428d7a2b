import { ParleyError } from "./errors.js";
import { Lost, type Link } from "./link.js";
import { backoff, deferred, pause, type Deferred } from "./timers.js";
import type { Entry } from "./types.js";

interface Mark {
  read: number;
  delivered: number;
  waiting: Deferred<void>[];
}

/** Deliveries that come close together are said at once, after so long. */
const gather = 1000;
/** In larger conversations nobody looks at deliveries one by one. */
export const mostMembers = 32;

/**
 * Says how far the user has read and got each conversation. What waits for
 * the link is the highest of each alone.
 */
export class Marks {
  readonly #marks = new Map<string, Mark>();
  readonly #sending = new Set<string>();
  readonly #got = new Map<string, number>();
  /** Whether a conversation is small enough, as far as that is known. */
  readonly #small = new Map<string, Promise<boolean>>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #link: Link | undefined;

  constructor(
    private readonly isSmall: (conversationId: string) => Promise<boolean>,
    private readonly waits: { min: number; max: number },
    private readonly closing: AbortSignal,
  ) {}

  read(conversationId: string, seq: number): Promise<void> {
    const m = this.#mark(conversationId);
    const done = deferred<void>();
    if (this.closing.aborted) done.reject(new ParleyError("closed", "the client is closed"));
    else {
      m.read = Math.max(m.read, seq);
      m.waiting.push(done);
      void this.#send(conversationId);
    }
    return done.promise;
  }

  /** An entry of somebody else was delivered to the app. */
  delivered(e: Entry): void {
    if (e.type === "join" || e.type === "leave") this.#small.delete(e.conversationId);
    this.#got.set(e.conversationId, e.seq);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#flush();
    }, gather);
  }

  /** The user is no member any more: nothing of it is to be said. */
  left(conversationId: string): void {
    this.#got.delete(conversationId);
    this.#small.delete(conversationId);
  }

  up(link: Link): void {
    this.#link = link;
    for (const id of this.#marks.keys()) void this.#send(id);
    void this.#flush();
  }

  down(): void {
    this.#link = undefined;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#link = undefined;
    for (const m of this.#marks.values()) {
      for (const d of m.waiting) d.reject(new ParleyError("closed", "the client is closed"));
    }
    this.#marks.clear();
  }

  #mark(id: string): Mark {
    let m = this.#marks.get(id);
    if (!m) this.#marks.set(id, (m = { read: 0, delivered: 0, waiting: [] }));
    return m;
  }

  async #flush(): Promise<void> {
    for (const [id, seq] of [...this.#got]) {
      if (!this.#link) return;
      try {
        let small = this.#small.get(id);
        if (!small) this.#small.set(id, (small = this.isSmall(id)));
        if (await small) {
          const m = this.#mark(id);
          m.delivered = Math.max(m.delivered, seq);
          void this.#send(id);
        }
        if (this.#got.get(id) === seq) this.#got.delete(id);
      } catch (err) {
        this.#small.delete(id); // the next entry, or connection, tries again
        if ((err as ParleyError).status === 403 || (err as ParleyError).status === 404) this.#got.delete(id); // no member any more
      }
    }
  }

  /** Says what is not said yet; what comes meanwhile is said after. */
  async #send(id: string): Promise<void> {
    if (this.#sending.has(id)) return;
    this.#sending.add(id);
    for (let n = 0; this.#link; ) {
      const m = this.#marks.get(id);
      if (!m) break;
      const link: Link = this.#link;
      this.#marks.delete(id);
      const body = { ...(m.read && { read: m.read }), ...(m.delivered && { delivered: m.delivered }) };
      try {
        await link.publish(`chat/${id}/receipts`, JSON.stringify(body));
        for (const d of m.waiting) d.resolve();
      } catch (err) {
        const e = err as ParleyError;
        if (e instanceof Lost || e.code === "unavailable" || e.code === "rate_limited") {
          const now = this.#mark(id);
          now.read = Math.max(now.read, m.read);
          now.delivered = Math.max(now.delivered, m.delivered);
          now.waiting.unshift(...m.waiting);
          if (e instanceof Lost) break;
          await pause(backoff(n++, this.waits), this.closing);
        } else {
          for (const d of m.waiting) d.reject(e);
        }
      }
    }
    this.#sending.delete(id);
    if (this.#link && this.#marks.has(id)) void this.#send(id);
  }
}
