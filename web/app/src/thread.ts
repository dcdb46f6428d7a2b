// One conversation that is open: a stretch of its messages that grows on both
// ends, its members, and how far they have read.
import { batch, computed, signal } from "@preact/signals";
import type { ConversationDetails, Draft, Entry, Folded, History, Member, Receipt, Sent } from "@parley/client";
import { fold, merge, type Mark } from "./fold.ts";
import type { Store } from "./store.ts";
import { failed } from "./toast.ts";

const pageSize = 40;
const eventsLimit = 200;
const kept = 200; // messages that trim leaves

interface Stretch {
  items: readonly Folded[];
  older: boolean;
  newer: boolean;
}

export class Thread {
  readonly items = signal<readonly Folded[]>([]);
  readonly state = signal<"loading" | "ready" | "failed">("loading");
  /** Why the messages could not be loaded. */
  readonly problem = signal("");
  readonly hasOlder = signal(false);
  readonly hasNewer = signal(false);
  /** Where what is new began when the conversation was opened. */
  readonly newFrom = signal<number | undefined>(undefined);
  /** The message to bring into view; n tells the same one asked for again. */
  readonly target = signal<{ seq: number; n: number } | undefined>(undefined);
  readonly details = signal<ConversationDetails | undefined>(undefined);
  readonly members = signal<readonly Member[]>([]);
  readonly marks = signal<ReadonlyMap<string, Mark>>(new Map());
  readonly replyTo = signal<Folded | undefined>(undefined);
  readonly editing = signal<Folded | undefined>(undefined);
  readonly memberIds = computed(() => new Set(this.members.value.map((m) => m.userId)));
  readonly role = computed(() => this.members.value.find((m) => m.userId === this.store.me.value)?.role);
  /** Messages that replies quote and that are not in view. */
  readonly quoted = signal<ReadonlyMap<number, Folded>>(new Map());

  #live: Entry[] | undefined; // while loading
  #closed = false;
  #busy = false;
  #loads = 0; // the newest one counts
  #people: Promise<void> | undefined;
  #peopleAgain = false;
  #jumps = 0;
  #asked = new Set<number>();

  constructor(
    readonly store: Store,
    readonly id: string,
    at?: number,
  ) {
    void this.load(at);
    void this.loadPeople();
  }

  close(): void {
    this.#closed = true;
  }

  nameOf(id: string): string | undefined {
    const d = this.details.value;
    if (id !== this.id || !d) return undefined;
    if (d.name) return d.name;
    const others = d.members.map((m) => m.userId).filter((u) => u !== this.store.me.value);
    return others.slice(0, 4).join(", ") || undefined;
  }

  /** Loads the newest messages, or those around a seq. */
  async load(at?: number): Promise<void> {
    const mine = ++this.#loads;
    this.#live = [];
    if (this.items.value.length === 0) this.state.value = "loading";
    try {
      const c = this.store.conversation(this.id);
      const { items, older, newer } = at ? await this.#around(at) : await this.#newest();
      if (this.#closed || mine !== this.#loads) return;
      const live = this.#live ?? [];
      batch(() => {
        this.hasOlder.value = older;
        this.hasNewer.value = newer;
        this.items.value = items;
        this.#live = undefined;
        for (const e of live) this.take(e);
        if (!at && this.newFrom.value === undefined && c && c.unread > 0) {
          const first = items.find((m) => isMessage(m) && m.seq > c.readSeq && m.senderId !== this.store.me.value);
          this.newFrom.value = first?.seq;
        }
        if (at) this.target.value = { seq: at, n: ++this.#jumps };
        this.state.value = "ready";
      });
    } catch (err) {
      if (this.#closed || mine !== this.#loads) return;
      this.#live = undefined;
      if (this.items.value.length === 0) {
        this.problem.value = refusal(err);
        this.state.value = "failed";
      } else failed("The messages could not be loaded", err);
    }
  }

  async #newest(): Promise<Stretch> {
    const h = await this.store.client.messages(this.id, { limit: pageSize });
    const older = h.items.length === pageSize;
    return { items: await this.#withEvents(h.items, older, h, h.headSeq), older, newer: false };
  }

  async #around(at: number): Promise<Stretch> {
    const half = pageSize / 2;
    const [before, after] = await Promise.all([
      this.store.client.messages(this.id, { before: at + 1, limit: half }),
      this.store.client.messages(this.id, { after: at, limit: half }),
    ]);
    const [older, newer] = [before.items.length === half, after.items.length === half];
    const items = merge(before.items, after.items);
    const to = newer ? items.at(-1)!.seq : after.headSeq;
    return { items: await this.#withEvents(items, older, before, to), older, newer };
  }

  /** Adds who joined and left, and new names, which the folded view leaves out. */
  async #withEvents(items: readonly Folded[], older: boolean, h: History<unknown>, to: number): Promise<readonly Folded[]> {
    const from = older ? items[0]!.seq : h.firstSeq;
    if (to < from || to - from + 1 <= items.length) return items;
    const all = await this.store.client.history(this.id, { before: to + 1, limit: Math.min(eventsLimit, to - from + 1) });
    const events = all.items.filter((e) => e.seq >= from && (e.type === "join" || e.type === "leave" || e.type === "rename"));
    return merge(items, events);
  }

  async older(): Promise<void> {
    const first = this.items.value.find(isMessage)?.seq ?? this.items.value[0]?.seq;
    if (!first || !this.hasOlder.value || this.#busy) return;
    this.#busy = true;
    const loads = this.#loads;
    try {
      const h = await this.store.client.messages(this.id, { before: first, limit: pageSize });
      const older = h.items.length === pageSize;
      const items = await this.#withEvents(h.items, older, h, first - 1);
      if (this.#closed || loads !== this.#loads) return; // another stretch is shown by now
      batch(() => {
        this.hasOlder.value = older;
        this.items.value = merge(items, this.items.value);
      });
    } catch (err) {
      failed("Older messages could not be loaded", err);
    } finally {
      this.#busy = false;
    }
  }

  async newer(): Promise<void> {
    const last = this.items.value.at(-1)?.seq;
    if (!last || !this.hasNewer.value || this.#busy || this.#live) return;
    this.#busy = true;
    const loads = this.#loads;
    this.#live = [];
    try {
      const h = await this.store.client.messages(this.id, { after: last, limit: pageSize });
      if (this.#closed || loads !== this.#loads) return;
      const live = this.#live ?? [];
      this.#live = undefined;
      batch(() => {
        this.hasNewer.value = h.items.length === pageSize;
        this.items.value = merge(this.items.value, h.items);
        for (const e of live) this.take(e);
      });
    } catch (err) {
      if (loads === this.#loads) this.#live = undefined;
      failed("Newer messages could not be loaded", err);
    } finally {
      this.#busy = false;
    }
  }

  /** Brings a message into view, wherever it is. */
  async jump(seq: number): Promise<void> {
    if (this.items.value.some((m) => m.seq === seq)) this.target.value = { seq, n: ++this.#jumps };
    else await this.load(seq);
  }

  async newest(): Promise<void> {
    this.target.value = undefined;
    if (this.hasNewer.value) {
      this.hasNewer.value = false;
      await this.load();
    }
  }

  /** Takes an entry as it was committed. */
  take(e: Entry): void {
    if (e.conversationId !== this.id) return;
    if (this.#live) {
      this.#live.push(e);
      return;
    }
    const adds = e.type !== "edit" && e.type !== "delete" && e.type !== "reaction";
    if (!adds || !this.hasNewer.value) this.items.value = fold(this.items.value, e);
    const q = e.target ? this.quoted.value.get(e.target) : undefined;
    if (q) this.quoted.value = new Map(this.quoted.value).set(q.seq, fold([q], e)[0]!);
    if (e.type === "join" || e.type === "leave" || e.type === "rename") void this.loadPeople();
    if (e.type === "delete" && this.editing.value?.seq === e.target) this.editing.value = undefined;
  }

  /** Lets go of the oldest of very many; it is for who looks at the newest. */
  trim(): void {
    if (this.items.value.length <= 3 * kept) return;
    this.items.value = this.items.value.slice(-kept);
    this.hasOlder.value = true;
  }

  /** A message of one's own is committed; its entry may come a moment later. */
  committed(id: string, draft: Draft, sent: Sent): void {
    if (id !== this.id || this.#live) return;
    this.take({ ...draft, ...sent, conversationId: id, type: "message", senderId: this.store.me.value });
  }

  mark(r: Omit<Receipt, "conversationId">): void {
    const had = this.marks.value.get(r.userId);
    const now = { read: Math.max(r.read, had?.read ?? 0), delivered: Math.max(r.delivered, had?.delivered ?? 0) };
    this.marks.value = new Map(this.marks.value).set(r.userId, now);
  }

  /** Reads anew what is not told again after a loss of the link. */
  async refresh(): Promise<void> {
    if (this.state.value === "failed") await this.load();
    await this.loadPeople();
  }

  /** Reads who is there; of many calls that come together the last one alone asks again. */
  loadPeople(): Promise<void> {
    this.#peopleAgain = true;
    this.#people ??= (async () => {
      while (this.#peopleAgain && !this.#closed) {
        this.#peopleAgain = false;
        await this.#readPeople();
      }
    })().finally(() => (this.#people = undefined));
    return this.#people;
  }

  async #readPeople(): Promise<void> {
    if (this.store.removed.value.has(this.id)) return;
    try {
      const [details, receipts] = await Promise.all([
        this.store.client.conversation(this.id),
        this.store.client.receipts(this.id),
      ]);
      if (this.#closed) return;
      batch(() => {
        this.details.value = details;
        this.members.value = details.members;
        const still = new Set(details.members.map((m) => m.userId));
        this.marks.value = new Map([...this.marks.value].filter(([user]) => still.has(user)));
        for (const r of receipts) this.mark(r);
      });
    } catch {
      // The messages say what is wrong; people are read again with the next link.
    }
  }

  /** The message that a reply quotes; it is fetched when it is not there yet. */
  quote(seq: number): Folded | undefined {
    const m = this.items.value.find((m) => m.seq === seq) ?? this.quoted.value.get(seq);
    if (!m && !this.#asked.has(seq)) {
      this.#asked.add(seq);
      this.store.client.messages(this.id, { before: seq + 1, limit: 1 }).then(
        (h) => {
          const got = h.items[0];
          if (got?.seq === seq) this.quoted.value = new Map(this.quoted.value).set(seq, got);
        },
        () => this.#asked.delete(seq),
      );
    }
    return m;
  }
}

function refusal(err: unknown): string {
  const { code } = err as { code?: string };
  if (code === "forbidden" || code === "not_found") return "There is no such conversation, or you are not a member of it.";
  return code === "network" ? "The messages could not be loaded: the server is out of reach." : `The messages could not be loaded: ${(err as Error).message}`;
}

function isMessage(m: Folded): boolean {
  return m.type === "message";
}
