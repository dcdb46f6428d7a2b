// What the tests share: a server behind a proxy, clients that keep what they
// were told, and waiting for what happens.
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { connect, type Client, type Entry, type Events, type Options, type Status } from "../src/index.js";
import { Proxy, type Fate, type Packet } from "./proxy.js";
import { Server, patience, token } from "./server.js";

const kinds = ["entry", "typing", "receipt", "presence", "notification", "unread", "gap", "outbox", "error", "status"] as const;

/** A client, and all that it told. */
export class Watched {
  readonly entries: Entry[] = [];
  readonly told: { [K in (typeof kinds)[number]]: Events[K][] } = {
    entry: this.entries, typing: [], receipt: [], presence: [], notification: [], unread: [], gap: [], outbox: [], error: [], status: [],
  };
  /** How long it meant to wait before each reconnect. */
  readonly waits: number[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(readonly client: Client) {
    client.on("status", (s) => s.retryAt && this.waits.push(s.retryAt - Date.now()));
    for (const kind of kinds) {
      client.on(kind, (e) => {
        (this.told[kind] as unknown[]).push(e);
        for (const look of [...this.#waiting]) look();
      });
    }
  }

  /** Resolves as soon as the condition holds; looks after every event. */
  until(what: string, holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        const { status, entry, error, gap } = this.told;
        reject(new Error(`${what}: did not happen within ${patience} ms; ${JSON.stringify({ now: this.client.status, status: status.slice(-5), entries: entry.length, last: entry.at(-1), errors: error.slice(-5), gap })}`));
      }, patience);
      this.#waiting.add(look);
      look();
    });
  }

  state(state: Status["state"]): Promise<void> {
    return this.until(`state ${state}`, () => this.client.status.state === state);
  }

  of(conversation: string): Entry[] {
    return this.entries.filter((e) => e.conversationId === conversation);
  }

  /** Waits until it was told of seq. */
  upTo(conversation: string, seq: number): Promise<void> {
    return this.until(`entry ${seq} of ${conversation}`, () => (this.of(conversation).at(-1)?.seq ?? 0) >= seq);
  }
}

export class World {
  readonly #clients: Watched[] = [];
  readonly #proxies: Proxy[] = [];

  private constructor(readonly server: Server) {}

  /** A server, which ends with the test. */
  static async start(t: TestContext, env: Record<string, string> = {}): Promise<World> {
    const server = await Server.start(env);
    const world = World.on(t, server);
    t.after(() => server.remove());
    return world;
  }

  /** Clients and proxies that end with the test, on a server that other tests use too. */
  static on(t: TestContext, server: Server): World {
    const world = new World(server);
    t.after(async () => {
      for (const w of world.#clients) await w.client.close();
      for (const p of world.#proxies) await p.close();
    });
    return world;
  }

  async proxy(): Promise<Proxy> {
    const p = await Proxy.start(this.server);
    this.#proxies.push(p);
    return p;
  }

  client(user: string, proxy: Proxy, o: Partial<Options> = {}): Watched {
    const w = new Watched(
      connect({ url: proxy.url, token: async () => token(user), backoff: { min: 5, max: 100 }, timeout: 10_000, ...o }),
    );
    this.#clients.push(w);
    return w;
  }

  conversation(id: string, owner: string, ...members: string[]): Promise<unknown> {
    return this.server.rest(owner, "POST", "/v1/conversations", { id, members });
  }

  /** A message of the user, committed past client and proxy. */
  async say(user: string, conversation: string, content: string): Promise<number> {
    return (await this.server.rest(user, "POST", `/v1/conversations/${conversation}/messages`, { content })).seq;
  }

  /** Wants the events of a conversation to be its log from a seq on, in order, each once. */
  async wantLog(w: Watched, who: string, conversation: string, from: number, gaps = 0): Promise<void> {
    const log = (await this.server.log(who, conversation)).filter((e) => e.seq >= from);
    await w.upTo(conversation, log.at(-1)?.seq ?? 0);
    assert.deepEqual(w.of(conversation).map((e) => [e.seq, e.id, e.content]), log.map((e) => [e.seq, e.id, e.content]));
    assert.equal(w.told.gap.length, gaps);
  }
}

/** Meets the nth packet that fits with a fate, and passes all others. */
export function once(fits: (p: Packet) => boolean, fate: Fate): { packet: (p: Packet) => Fate; met: () => boolean } {
  let met = false;
  return {
    packet: (p) => {
      if (met || !fits(p)) return "pass";
      met = true;
      return fate;
    },
    met: () => met,
  };
}
