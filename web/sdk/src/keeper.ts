import { ParleyError, asParleyError, problemOf } from "./errors.js";
import { Link, Lost, Refused } from "./link.js";
import { backoff, pause } from "./timers.js";
import type { Token, Tokens } from "./tokens.js";
import type { Problem, Status } from "./types.js";

export interface Hooks {
  /** The user is known: the first token is there. */
  user(userId: string): void;
  status(s: Status): void;
  problem(p: Problem): void;
  message(topic: string, text: string): void;
  /** The link stands; nothing is subscribed to yet, and nothing sent before the promise ends. */
  begin(link: Link): Promise<void>;
  /** All is subscribed to: what is published from now on comes. */
  up(link: Link): void;
  down(): void;
  catchUp(): Promise<void>;
}

export interface KeeperOptions {
  url: string;
  clientId: string;
  timeout: number;
  waits: { min: number; max: number };
}

/** Longest time that a timer takes. */
const longest = 2 ** 31 - 1;
/** An app that gives the same token again is not asked more often. */
const oftenest = 1000;

/**
 * Keeps a connection: makes it, renews its token in place, and makes it again
 * when it is lost, later and later while that does not help.
 */
export class Keeper {
  status: Status = { state: "connecting" };
  #link: Link | undefined;
  #wait: AbortController | undefined;
  #fails = 0;
  #refusals = 0;
  #upSince = 0;
  /** What the connection lives by. */
  #token: Token | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly o: KeeperOptions,
    private readonly tokens: Tokens,
    private readonly hooks: Hooks,
    private readonly closing: AbortSignal,
  ) {}

  start(): void {
    void this.#keep();
  }

  async close(): Promise<void> {
    this.#wait?.abort();
    await this.#link?.end();
    this.#set({ state: "closed" });
  }

  /** Something says that the network may be back: waits no longer, and looks after the link. */
  nudge(): void {
    this.#wait?.abort();
    this.#link?.check();
  }

  /** The server warns that the token is about to expire. */
  expiring(): void {
    if (this.#link && this.#token) void this.#renew(this.#link, this.#token);
  }

  #set(s: Status): void {
    if (this.status.state === "closed") return;
    this.status = s;
    this.hooks.status(s);
  }

  async #keep(): Promise<void> {
    while (!this.closing.aborted) {
      this.#set({ state: "connecting" });
      let why: ParleyError;
      this.#upSince = 0;
      try {
        why = await this.#connection();
      } catch (err) {
        why = asParleyError(err);
      }
      clearTimeout(this.#renewal);
      this.#link = undefined;
      this.hooks.down();
      if (this.closing.aborted) return;
      const ms = this.#patience(why);
      if (ms === undefined) {
        this.#set({ state: "closed", reason: problemOf(why) });
        return;
      }
      if (ms > 0) {
        this.#set({ state: "offline", retryAt: Date.now() + ms, reason: problemOf(why) });
        await this.#pause(ms);
      }
    }
  }

  #pause(ms: number): Promise<void> {
    const wait = (this.#wait = new AbortController());
    return pause(ms, wait.signal).then(() => (this.#wait = undefined));
  }

  /**
   * How long to wait after a connection ended; undefined is for ever. One
   * that held for a while begins anew with short waits.
   */
  #patience(why: ParleyError): number | undefined {
    const { waits } = this.o;
    const reason = why instanceof Lost || why instanceof Refused ? why.reason : 0;
    if (this.#upSince && Date.now() - this.#upSince >= 10 * waits.min) this.#fails = this.#refusals = 0;
    if (why.code === "taken_over" || (why.code === "forbidden" && !reason)) return undefined;
    if (reason === 0x86 || reason === 0x87 || why.code === "unauthorized") {
      // A token that has ended is replaced at once. When the next one is not
      // better, something is wrong that haste does not mend.
      return this.#refusals++ === 0 ? 0 : backoff(30, waits);
    }
    if (reason === 0x8b) return waits.min * (0.5 + 4 * Math.random()); // all come at once, to a server that starts
    if (why.code === "kicked" || why.code === "rate_limited") this.#fails = Math.max(this.#fails, 4);
    return backoff(this.#fails++, waits);
  }

  /** Makes a connection and lives it to its end. */
  async #connection(): Promise<Lost> {
    const token = await this.tokens.fresh();
    if (this.tokens.refused(token)) {
      this.#refusals++;
      throw new ParleyError("unauthorized", "token() gave the token again that the server has refused");
    }
    this.hooks.user(token.userId);
    if (this.closing.aborted) return new Lost(0, "the client is closed");
    let link: Link;
    try {
      link = await Link.open({ url: this.o.url, clientId: this.o.clientId, userId: token.userId, token: token.text,
        timeout: this.o.timeout, closing: this.closing, onMessage: (topic, text) => this.hooks.message(topic, text) });
    } catch (err) {
      this.#refused(err, token);
      throw err;
    }
    if (this.closing.aborted) {
      await link.end();
      return link.closed;
    }
    this.#link = link;
    this.#upSince = Date.now();
    void this.#live(link, token);
    const why = await link.closed;
    this.#refused(why, token);
    return why;
  }

  /** Keeps in mind that a connection ended because of its token. */
  #refused(why: unknown, token: Token): void {
    if (why instanceof Lost && (why.reason === 0x86 || why.reason === 0x87)) this.tokens.refuse(token);
  }

  async #live(link: Link, token: Token): Promise<void> {
    try {
      this.#set({ state: "syncing" });
      const ready = this.hooks.begin(link);
      await link.subscribe({ "chat/+/+": 1, [`users/${token.userId}/#`]: 1, "users/+/presence": 0 });
      await ready;
      if (!link.alive) return;
      this.#schedule(link, token);
      this.hooks.up(link);
    } catch (err) {
      if (!(err instanceof Lost)) link.lose(new Lost(err instanceof Refused ? err.reason : 0, asParleyError(err).message));
      return;
    }
    for (let n = 0; link.alive && !this.closing.aborted; n++) {
      try {
        await this.hooks.catchUp();
        if (link.alive) this.#set({ state: "online" });
        return;
      } catch (err) {
        if (!link.alive || this.closing.aborted) return;
        this.hooks.problem(problemOf(err));
        await this.#pause(backoff(n, this.o.waits));
      }
    }
  }

  /** Has the token renewed before it ends: in the last quarter of its life, or 90 s before. */
  #schedule(link: Link, token: Token, least = 0): void {
    clearTimeout(this.#renewal);
    this.#token = token;
    const left = token.expiresAt - Date.now();
    if (!(left > 0) || left === Infinity) return; // this clock is wrong: the server warns
    const ms = Math.max(left - 90_000, left * 0.75, least);
    this.#renewal = setTimeout(() => (ms > longest ? this.#schedule(link, token) : void this.#renew(link, token)), Math.min(ms, longest));
  }

  /** Gives the connection a fresh token. When that fails, the connection ends with the old one. */
  async #renew(link: Link, old: Token): Promise<void> {
    clearTimeout(this.#renewal);
    try {
      const token = await this.tokens.fresh();
      if (!link.alive) return;
      if (token.text !== old.text) await link.publish(`users/${token.userId}/token`, token.text);
      this.#schedule(link, token, token.text === old.text ? oftenest : 0);
    } catch (err) {
      if (!link.alive || err instanceof Lost) return;
      this.hooks.problem(problemOf(err));
      this.#renewal = setTimeout(() => void this.#renew(link, old), Math.max(this.o.waits.max, oftenest));
    }
  }
}
