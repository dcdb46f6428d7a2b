// The stream that is made of what comes, by chance: live, doubled, lost, by
// sync and by history, while the user comes and goes. The oracle is the log.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Feed } from "../src/feed.js";
import type { Rest } from "../src/rest.js";
import type { Entry } from "../src/types.js";
import { chances, seed } from "./chances.js";

const me = "bob";

/** A conversation as the server has it. */
class Log {
  readonly all: Entry[] = [];
  member = false;

  constructor(readonly id: string) {}

  add(type: Entry["type"], userId?: string): Entry {
    const seq = this.all.length + 1;
    const e: Entry = { id: `${this.id}-${seq}`, conversationId: this.id, seq, type, senderId: "alice", createdAt: new Date(seq).toISOString(), ...(userId && { userId }) };
    this.all.push(e);
    if (userId === me) this.member = type === "join";
    return e;
  }

  /** What the user may get by itself: while it is a member, from its join to its leave. */
  get mine(): Entry[] {
    let member = false;
    return this.all.filter((e) => {
      const before = member;
      if (e.userId === me) member = e.type === "join";
      return before || member;
    });
  }
}

test("by chance", async (t) => {
  t.diagnostic(`PARLEY_SDK_SEED=${seed}`);
  for (let round = 0; round < 200; round++) {
    const chance = chances(seed + round);
    const pick = (n: number) => Math.floor(chance() * n);
    const logs = Array.from({ length: 1 + pick(3) }, (_, i) => new Log(`c${i}`));
    // A cursor is how much of each log the user has been told of.
    const cursor = () => JSON.stringify(logs.map((l) => l.all.length));
    const failing = () => {
      if (chance() < 0.2) throw new Error("the network");
    };
    const rest = {
      async get(path: string, query: { after?: string | number } = {}) {
        failing();
        const [, id] = /conversations\/(\w+)\//.exec(path) ?? [];
        if (id) {
          const l = logs.find((e) => e.id === id)!;
          const items = l.all.filter((e) => e.seq > Number(query.after)).slice(0, 1 + pick(3));
          return { items, headSeq: l.all.length, firstSeq: 1 };
        }
        const answer = { conversations: [] as object[], notifications: { unreadCount: 0, entries: [] }, nextCursor: cursor(), complete: true };
        const had = query.after && (JSON.parse(String(query.after)) as number[]);
        if (!had) {
          answer.conversations = logs.filter((l) => l.member).map((l) => ({ id: l.id, headSeq: l.all.length, entries: [] }));
        } else {
          const upTo = logs.map((l, i) => Math.min(l.all.length, had[i]! + 1 + pick(4)));
          answer.conversations = logs.map((l, i) => ({ id: l.id, headSeq: 0, entries: l.mine.filter((e) => e.seq > had[i]! && e.seq <= upTo[i]!) }));
          answer.nextCursor = JSON.stringify(upTo);
          answer.complete = upTo.every((n, i) => n === logs[i]!.all.length);
        }
        const shown = JSON.parse(JSON.stringify(answer));
        await new Promise((resolve) => setImmediate(resolve)); // others come first
        failing();
        return shown;
      },
    } as unknown as Rest;

    const got: Entry[] = [];
    const gaps: unknown[] = [];
    const closing = new AbortController();
    const feed = new Feed(rest, () => me, { entry: (e) => got.push(e), gap: (...g) => gaps.push(g), notification() {}, unread() {}, problem() {} },
      { min: 0, max: 1 }, closing.signal, undefined);
    for (const l of logs) {
      l.add("join", "alice");
      if (chance() < 0.7) l.add("join", me);
    }
    while (!(await feed.base().then(() => true, () => false))) {
      // asks again
    }
    const base = logs.map((l) => (l.member ? l.all.length : 0));

    let live = false;
    for (let step = 0; step < 40; step++) {
      const l = logs[pick(logs.length)]!;
      const did = chance();
      const before = l.member;
      if (did < 0.6) l.add("message");
      else if (did < 0.7) l.add(l.member ? "leave" : "join", me);
      else if (did < 0.8) {
        live = true; // a new connection
        feed.hold();
        void feed.catchUp().catch(() => {});
      } else if (did < 0.85) live = false;
      else void feed.catchUp().catch(() => {});
      const newest = l.all.at(-1)!;
      if (live && did < 0.7 && (before || l.member)) {
        // What comes may be lost, but for the first of a conversation that is new.
        const known = base[logs.indexOf(l)]! > 0 || got.some((e) => e.conversationId === l.id);
        if (chance() < 0.9 || !known) feed.live(newest);
        // Had before. A join from before the client was there does not come: what would send it again is a session, which it has none of.
      const old = l.mine.filter((e) => e.seq > base[logs.indexOf(l)]! || e.userId !== me);
      while (old.length && chance() < 0.2) feed.live(old[pick(old.length)]!);
      }
      if (chance() < 0.5) await new Promise((resolve) => setImmediate(resolve));
    }
    feed.hold();
    while (!(await feed.catchUp().then(() => true, () => false))) {
      // asks again
    }
    closing.abort();
    logs.forEach((l, i) => {
      const want = l.mine.filter((e) => e.seq > base[i]!);
      assert.deepEqual(got.filter((e) => e.conversationId === l.id).map((e) => e.seq), want.map((e) => e.seq), `round ${round}, seed ${seed}, ${l.id}`);
    });
    assert.deepEqual(gaps, []);
  }
});
