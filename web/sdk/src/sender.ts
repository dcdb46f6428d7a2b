import { ParleyError, problemOf } from "./errors.js";
import { Lost, Refused, type Link } from "./link.js";
import { backoff, deferred, pause, uid, within, type Deferred } from "./timers.js";
import type { OutboxStore, Pending, Problem, Sent } from "./types.js";

interface Job {
  conversationId: string;
  clientId: string;
  body: string;
  /** Of a message: what is in the outbox. */
  pending?: Pending;
  /** Ends when the outbox has it. */
  stored: Promise<void>;
  done: Deferred<Sent>;
  /** Somebody waits for done. Else what becomes of it is an event. */
  waited: boolean;
  tries: number;
}

/** The server takes no more. */
const mostBytes = 64 << 10;
/** So often is tried what the server fails on by its own fault. */
const mostTries = 5;
/** So long is waited for the store, in ms; and for one that was late, until it answers. */
const storePatience = 5000;
const lessPatience = 50;

export interface SenderEvents {
  outbox(all: Pending[]): void;
  problem(p: Problem): void;
}

/**
 * Sends each conversation's messages one after the other, over any number of
 * connections, until each is committed or refused for good. Each has a
 * clientId, so that one that is sent again stands once.
 */
export class Sender {
  readonly #queues = new Map<string, Job[]>();
  readonly #running = new Set<string>();
  /** Messages that wait, oldest first. */
  readonly #all = new Map<string, Job>();
  readonly #store = deferred<OutboxStore>();
  readonly #owner = uid();
  #opened = false;
  #loaded = false;
  #looking: Promise<void> | undefined;
  #link: Link | undefined;
  #closed = false;

  constructor(
    private readonly events: SenderEvents,
    private readonly waits: { min: number; max: number },
    private readonly closing: AbortSignal,
  ) {}

  get outbox(): Pending[] {
    return [...this.#all.values()].map((j) => j.pending!);
  }

  /** The store is known: what an earlier page left in it goes first. */
  async open(store: OutboxStore): Promise<void> {
    this.#opened = true;
    try {
      await this.#own();
      await this.#adopt((store = patient(store)), true);
    } catch (err) {
      this.events.problem(problemOf(err, "outbox"));
    }
    this.#store.resolve(store);
    this.#loaded = true;
    this.#pumpAll();
  }

  /** Takes over what other tabs have left that are no more. */
  look(): void {
    if (!this.#loaded || this.#closed || !tabs()) return;
    this.#looking ??= this.#store.promise
      .then((store) => this.#adopt(store, false))
      .catch((err) => this.events.problem(problemOf(err, "outbox")))
      .finally(() => (this.#looking = undefined));
  }

  message(p: Pending): Promise<Sent> {
    const same = this.#all.get(p.clientId);
    if (same) {
      same.waited = true;
      return same.done.promise;
    }
    p.owner = this.#owner;
    return this.#add(p.conversationId, p.clientId, bodyOf(p), p).done.promise;
  }

  other(conversationId: string, body: object): Promise<Sent> {
    const clientId = uid();
    return this.#add(conversationId, clientId, JSON.stringify({ ...body, clientId })).done.promise;
  }

  up(link: Link): void {
    this.#link = link;
    this.#pumpAll();
    this.look();
  }

  down(): void {
    this.#link = undefined;
  }

  /** Ends it. Resolves when what waits is in the outbox, as far as there is one. */
  close(): Promise<unknown> {
    const stored = [...this.#all.values()].map((job) => job.stored);
    this.#closed = true;
    this.#link = undefined;
    for (const queue of this.#queues.values()) {
      for (const job of queue) if (job.waited) job.done.reject(closed());
    }
    this.#queues.clear();
    return this.#opened ? Promise.all(stored) : Promise.resolve();
  }

  #add(conversationId: string, clientId: string, body: string, pending?: Pending): Job {
    const job: Job = { conversationId, clientId, body, stored: Promise.resolve(), done: deferred(), waited: true, tries: 0 };
    if (this.#closed) job.done.reject(closed());
    else if (new TextEncoder().encode(body).length > mostBytes) {
      job.done.reject(new ParleyError("invalid", `a message has up to ${mostBytes} bytes`, { clientId }));
    } else {
      if (pending) {
        job.pending = pending;
        job.stored = this.#store.promise
          .then((s) => s.put(pending))
          .catch((err) => this.events.problem(problemOf(err, "outbox"))); // it waits in memory alone
      }
      this.#enqueue(job);
    }
    return job;
  }

  #queue(job: Job): void {
    let queue = this.#queues.get(job.conversationId);
    if (!queue) this.#queues.set(job.conversationId, (queue = []));
    queue.push(job);
  }

  #enqueue(job: Job): void {
    this.#queue(job);
    if (job.pending) {
      this.#all.set(job.clientId, job);
      this.#changed();
    }
    void this.#pump(job.conversationId);
  }

  #changed(): void {
    this.events.outbox(this.outbox);
  }

  #pumpAll(): void {
    for (const id of this.#queues.keys()) void this.#pump(id);
  }

  async #pump(id: string): Promise<void> {
    if (!this.#loaded || this.#running.has(id)) return;
    this.#running.add(id);
    try {
      for (;;) {
        const job = this.#queues.get(id)?.[0];
        if (!job || !this.#link) return;
        await job.stored;
        if (this.#link && !this.#closed) await this.#send(job, this.#link);
      }
    } finally {
      this.#running.delete(id);
      if (this.#queues.get(id)?.length === 0) this.#queues.delete(id);
    }
  }

  async #send(job: Job, link: Link): Promise<void> {
    try {
      const { id, seq, createdAt } = await link.publish(`chat/${job.conversationId}/messages`, job.body);
      this.#over(job, () => job.done.resolve({ id: String(id), seq: Number(seq), createdAt: String(createdAt) }));
    } catch (err) {
      if (err instanceof Lost) {
        if (this.#link === link) this.#link = undefined; // up() goes on
        return;
      }
      const { code, message } = err as Refused;
      if (this.#passing(code, job)) return pause(backoff(job.tries++, this.waits), this.closing);
      const refusal = new ParleyError(code, message, { clientId: job.clientId });
      this.#over(job, () => (job.waited ? job.done.reject(refusal) : this.events.problem(problemOf(refusal))));
    }
  }

  /** Reports whether a refusal is of the kind that passes. */
  #passing(code: string, job: Job): boolean {
    if (code === "internal" || code === "network") return job.tries < mostTries;
    return code === "unavailable" || code === "rate_limited" || code === "unauthorized";
  }

  #over(job: Job, settle: () => void): void {
    const queue = this.#queues.get(job.conversationId);
    if (queue?.[0] !== job) return; // closed meanwhile
    queue.shift();
    settle();
    if (!job.pending) return;
    this.#all.delete(job.clientId);
    this.#changed();
    this.#store.promise
      .then((s) => s.remove(job.clientId))
      .catch((err) => this.events.problem(problemOf(err, "outbox")));
  }

  /**
   * Says to the other tabs of the browser that this one lives, for as long as
   * it does: then it alone sends what it has put into the outbox.
   */
  async #own(): Promise<void> {
    await tabs()?.hold(this.#owner, this.closing);
  }

  /** Takes what is in the store and belongs to no tab that lives. */
  async #adopt(store: OutboxStore, first: boolean): Promise<void> {
    let found = (await store.load()).filter((p) => !this.#all.has(p.clientId));
    if (tabs()) {
      const dead = new Set<string | undefined>([undefined]);
      for (const owner of new Set(found.map((p) => p.owner))) {
        if (owner && (await tabs()!.hold(owner, this.closing, true))) dead.add(owner);
      }
      // Again: meanwhile the last of it may have been sent.
      found = (await store.load()).filter((p) => dead.has(p.owner) && !this.#all.has(p.clientId));
    }
    if (this.#closed || found.length === 0) return;
    const later = first ? [...this.#all.values()] : [];
    const others = first ? [...this.#queues.values()].flat() : [];
    if (first) {
      this.#all.clear();
      this.#queues.clear();
    }
    for (const p of found) {
      this.#enqueue({ conversationId: p.conversationId, clientId: p.clientId, body: bodyOf(p), pending: p,
        stored: Promise.resolve(), done: deferred(), waited: false, tries: 0 });
    }
    for (const job of others) this.#queue(job);
    for (const job of later) this.#all.set(job.clientId, job);
    this.#changed();
    this.#pumpAll();
  }
}

/** A store that refuses where the other does not answer: a browser's may hang for ever. */
function patient(store: OutboxStore): OutboxStore {
  let ms = storePatience;
  const late = () => {
    ms = lessPatience;
    return new ParleyError("outbox", "the outbox does not answer");
  };
  const bounded = <T>(p: Promise<T>): Promise<T> => {
    p.then(() => (ms = storePatience), () => {});
    return within(p, late, undefined, ms);
  };
  return { load: () => bounded(store.load()), put: (p) => bounded(store.put(p)), remove: (id) => bounded(store.remove(id)) };
}

/** The locks that tell which tabs live; Node has none, nor need of them. */
function tabs() {
  const locks = globalThis.navigator?.locks;
  return locks && {
    /** Holds the lock of an owner until the signal; with `now` it may be somebody else's, and the answer is false. */
    hold: (owner: string, until: AbortSignal, now = false) =>
      new Promise<boolean>((resolve, reject) => {
        const held = (lock: unknown) => {
          resolve(lock !== null);
          if (lock && !until.aborted) return new Promise<void>((end) => until.addEventListener("abort", () => end()));
          return undefined;
        };
        locks.request(`parley-outbox-${owner}`, { ifAvailable: now }, held).catch(reject);
      }),
  };
}

const closed = () => new ParleyError("closed", "the client is closed");

/** A message as it is published. */
function bodyOf(p: Pending): string {
  const { conversationId: _, queuedAt: _q, owner: _o, ...body } = p;
  return JSON.stringify(body);
}
