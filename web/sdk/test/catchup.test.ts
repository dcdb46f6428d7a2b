// A catch-up, with the link cut at each stage of it: each conversation comes in
// order, whole and once, whatever was missed, doubled or asked for in vain.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { connect, type Folded } from "../src/index.js";
import { World, once } from "./kit.js";
import type { Call, Fate, Proxy } from "./proxy.js";
import { Server, token } from "./server.js";

/** Pages of so many, whatever is asked for. */
const pages = (n: number) => (path: string) => {
  const url = new URL(path, "http://x");
  if (!url.pathname.endsWith("/sync") && !url.pathname.endsWith("/messages")) return path;
  if (url.searchParams.has("after")) url.searchParams.set("limit", String(n));
  return url.pathname + url.search;
};

/** Meets the nth call that fits. */
function nth(n: number, path: RegExp, answer: boolean, fate: Fate, also?: () => Promise<unknown>) {
  let seen = 0;
  return {
    call: async (c: Call) => {
      if (c.answer !== answer || !path.test(c.path) || ++seen !== n) return "pass" as const;
      await also?.();
      return fate;
    },
    met: () => seen >= n,
  };
}

describe("a catch-up", () => {
  let server: Server;
  before(async () => void (server = await Server.start()));
  after(() => server.remove());

  let n = 0;
  /** Bob, online, with a proxy of his own; then out of reach while alice says some things. */
  async function missed(world: World, texts: number, timeout = 10_000) {
    const [c, d] = [`c${++n}`, `d${n}`];
    const me = `bob${n}`;
    await Promise.all([world.conversation(c, "alice", me), world.conversation(d, "alice", me)]);
    const proxy = await world.proxy();
    const bob = world.client(me, proxy, { timeout });
    await bob.state("online");
    await world.say("alice", c, "live");
    await bob.upTo(c, 3);
    proxy.down = true;
    proxy.cut();
    await bob.state("offline");
    for (let i = 0; i < texts; i++) await world.say("alice", i % 2 ? c : d, `missed ${i}`);
    proxy.rewrite = pages(3);
    return { c, d, me, proxy, bob, back: () => (proxy.down = false) };
  }

  const sync = /\/v1\/sync\?/;
  const ends: [string, number, boolean, Fate][] = [];
  for (const page of [1, 2, 4]) {
    for (const fate of ["cut", "hang"] as const) ends.push([`${fate} before page ${page} is asked for`, page, false, fate]);
    for (const fate of ["cut", "half", "hang"] as const) ends.push([`${fate} in the answer of page ${page}`, page, true, fate]);
  }
  for (const [name, page, answer, fate] of ends) {
    test(name, async (t) => {
      const world = World.on(t, server);
      const { c, d, me, proxy, bob, back } = await missed(world, 10, fate === "hang" ? 500 : 10_000);
      const meet = nth(page, sync, answer, fate);
      proxy.call = meet.call;
      back();
      await world.wantLog(bob, me, c, 3);
      await world.wantLog(bob, me, d, 3);
      assert.ok(meet.met());
      await bob.state("online");
    });
  }

  for (const page of [1, 2, 4]) {
    test(`the connection is lost while page ${page} is on its way`, async (t) => {
      const world = World.on(t, server);
      const { c, d, me, proxy, bob, back } = await missed(world, 10);
      const meet = nth(page, sync, true, "pass", async () => {
        const before = proxy.connects.length;
        proxy.cutMQTT();
        await bob.until("another connection", () => proxy.connects.length > before || bob.client.status.state === "offline");
      });
      proxy.call = meet.call;
      back();
      await world.wantLog(bob, me, c, 3);
      await world.wantLog(bob, me, d, 3);
      assert.ok(meet.met());
    });

    test(`entries come live while page ${page} is on its way`, async (t) => {
      const world = World.on(t, server);
      const { c, d, me, proxy, bob, back } = await missed(world, 10);
      const meet = nth(page, sync, true, "pass", async () => {
        for (const id of [c, d, c, d]) {
          const seq = await world.say("alice", id, "live again");
          await passed(proxy, id, seq);
        }
      });
      proxy.call = meet.call;
      back();
      await world.wantLog(bob, me, c, 3);
      await world.wantLog(bob, me, d, 3);
      assert.ok(meet.met());
      // What comes live is held back meanwhile, and no gap.
      assert.deepEqual(proxy.calls.filter((call) => call.path.includes("/messages")), []);
    });
  }

  const gaps: [string, Fate, boolean, number][] = [
    ["no trouble", "pass", true, 1], ["a question that is lost", "cut", false, 1], ["an answer that is lost", "cut", true, 1],
    ["half an answer", "half", true, 1], ["no answer", "hang", true, 1], ["a second page that is lost", "cut", true, 2],
  ];
  for (const [name, fate, answer, page] of gaps) {
    test(`a gap in what comes live is filled, with ${name}`, async (t) => {
      const world = World.on(t, server);
      const { c, d, me, proxy, bob } = await live(world, fate === "hang" ? 500 : 10_000);
      const meet = nth(page, new RegExp(`${c}/messages\\?`), answer, fate);
      proxy.call = meet.call;
      await lose(world, proxy, c, 5);
      await world.say("alice", d, "elsewhere");
      await world.say("alice", c, "the one that shows it");
      await world.wantLog(bob, me, c, 3);
      await world.wantLog(bob, me, d, 3);
      assert.ok(meet.met());
    });
  }

  test("the connection is lost while a gap is filled", async (t) => {
    const world = World.on(t, server);
    const { c, me, proxy, bob } = await live(world);
    const meet = nth(2, new RegExp(`${c}/messages\\?`), true, "cut", async () => proxy.cutMQTT());
    proxy.call = meet.call;
    await lose(world, proxy, c, 5);
    await world.say("alice", c, "the one that shows it");
    await world.wantLog(bob, me, c, 3);
    assert.ok(meet.met());
  });

  test("a client that is closed while a gap is filled is silent", async (t) => {
    const world = World.on(t, server);
    const { c, proxy, bob } = await live(world);
    await lose(world, proxy, c, 5);
    proxy.call = nth(1, new RegExp(`${c}/messages\\?`), true, "hang").call;
    await world.say("alice", c, "the one that shows it");
    await proxy.until(() => proxy.calls.some((call) => call.path.includes(`${c}/messages`)));
    const before = bob.entries.length;
    await bob.client.close();
    await assert.rejects(bob.client.sync(), { code: "closed" });
    assert.equal(bob.entries.length, before);
  });

  test("a lost notification comes, in order", async (t) => {
    const world = World.on(t, server);
    const { me, proxy, bob } = await live(world);
    const notify = () => server.rest("svc", "POST", "/v1/notifications", { recipientId: me, senderId: "alice", type: "LIKE" }, "notify");
    await notify();
    await bob.until("a notification", () => bob.told.notification.length === 1);
    proxy.packet = once((p) => !p.up && p.topic === `users/${me}/notifications`, "drop").packet;
    for (let i = 0; i < 3; i++) await notify();
    await bob.until("all notifications", () => bob.told.notification.length === 4);
    proxy.cut();
    await notify();
    await bob.until("one more", () => bob.told.notification.length === 5);
    assert.deepEqual(bob.told.notification.map((e) => e.seq), [1, 2, 3, 4, 5]);
    await bob.until("the count", () => bob.told.unread.at(-1)?.unreadCount === 5);
    assert.deepEqual(await bob.client.markNotificationsRead({ upTo: 4 }), { unreadCount: 1 });
    await bob.until("the count", () => bob.told.unread.at(-1)?.unreadCount === 1);
    assert.deepEqual((await bob.client.notifications({ unread: true })).items.map((e) => e.seq), [5]);
  });

  /** Bob, online, in small pages. */
  async function live(world: World, timeout = 10_000) {
    const all = await missed(world, 0, timeout);
    all.back();
    await all.bob.state("online");
    return all;
  }

  /** So many entries that do not come. */
  async function lose(world: World, proxy: Proxy, c: string, count: number): Promise<void> {
    const gone = new Set<number>();
    proxy.packet = (p) => {
      if (p.up || p.topic !== `chat/${c}/messages` || gone.size >= count) return "pass";
      gone.add(JSON.parse(p.text).seq);
      return "drop";
    };
    for (let i = 0; i < count; i++) await passed(proxy, c, await world.say("alice", c, `lost ${i}`));
  }

  test("a conversation that is left and joined again", async (t) => {
    const world = World.on(t, server);
    const { c, me, proxy, bob } = await live(world);
    const member = `/v1/conversations/${c}/members/${me}`;
    const leave = async () => void (await server.rest("alice", "DELETE", member));
    const join = async () => void (await server.rest("alice", "PUT", member, {}));
    // Online all the time.
    await leave(); // 4
    await world.say("alice", c, "not for bob"); // 5
    await bob.until("his leave", () => bob.of(c).at(-1)?.type === "leave");
    await assert.rejects(bob.client.sendMessage(c, "let me in"), { code: "forbidden" });
    await join(); // 6
    await world.say("alice", c, "welcome"); // 7
    await bob.upTo(c, 7);
    // And away.
    proxy.down = true;
    proxy.cut();
    await world.say("alice", c, "for bob"); // 8
    await leave(); // 9
    await world.say("alice", c, "not for bob"); // 10
    await join(); // 11
    proxy.down = false;
    await bob.upTo(c, 11);
    await world.say("alice", c, "welcome back"); // 12
    await bob.upTo(c, 12);
    assert.deepEqual(bob.of(c).map((e) => e.seq), [3, 4, 6, 7, 8, 9, 11, 12]);
    assert.deepEqual(bob.told.gap, []);
  });

  test("a new conversation, and one that was deleted and made again", async (t) => {
    const world = World.on(t, server);
    const { c, me, bob } = await live(world);
    await world.conversation(`new${n}`, "alice", me);
    await bob.upTo(`new${n}`, 2);
    await world.say("alice", `new${n}`, "hi");
    await bob.upTo(`new${n}`, 3);
    assert.deepEqual(bob.of(`new${n}`).map((e) => e.seq), [2, 3]);
    await server.rest("alice", "DELETE", `/v1/conversations/${c}`);
    await world.conversation(c, "alice", me);
    await world.say("alice", c, "anew");
    await bob.until("the new one", () => bob.of(c).at(-1)?.content === "anew");
    assert.deepEqual(bob.of(c).map((e) => e.seq), [3, 2, 3]);
  });

  // The server trims once a minute; here the proxy leaves out what it would.
  for (const way of ["after being away", "live"]) {
    test(`history that does not reach back is told, ${way}`, async (t) => {
      const world = World.on(t, server);
      const { c, d, me, proxy, bob, back } = way === "live" ? await live(world) : await missed(world, 20);
      const first = 8;
      const held = (e: { conversationId: string; seq: number }) => e.conversationId !== c || e.seq <= 3 || e.seq >= first;
      proxy.body = (path, body) => {
        const answer = JSON.parse(body);
        if (path.includes("/sync")) for (const each of answer.conversations) each.entries = each.entries.filter(held);
        else if (path.includes(`${c}/messages`)) Object.assign(answer, { items: answer.items.filter(held), firstSeq: first });
        return JSON.stringify(answer);
      };
      if (way === "live") await lose(world, proxy, c, 7);
      else back();
      await world.say("alice", c, "the newest");
      const head = (await server.log("alice", c)).at(-1).seq;
      await bob.upTo(c, head);
      await world.wantLog(bob, me, d, 3, 1);
      assert.deepEqual(bob.told.gap, [{ conversationId: c, first }]);
      assert.deepEqual(bob.of(c).map((e) => e.seq), [3, ...Array.from({ length: head - first + 1 }, (_, i) => first + i)]);
    });
  }

  test("a cursor goes on where it was taken", async (t) => {
    const world = World.on(t, server);
    const { c, d, me, proxy, bob } = await live(world);
    for (let i = 0; i < 4; i++) await world.say("alice", c, `more ${i}`);
    await bob.upTo(c, 5);
    // As an app does that stores each entry with the cursor.
    let saved: string | undefined;
    const stop = bob.client.on("entry", () => {
      saved = bob.client.cursor();
      stop();
    });
    await world.say("alice", c, "the last that is stored");
    await bob.until("a cursor", () => saved !== undefined);
    const had = bob.of(c).findIndex((e) => bob.of(c).length > 0 && JSON.parse(saved!).seqs[c] === e.seq);
    await bob.client.close();
    for (let i = 0; i < 3; i++) await world.say("alice", d, `later ${i}`);
    const again = world.client(me, proxy, { after: saved! });
    const log = (await server.log(me, c)).slice(bob.of(c)[had]!.seq);
    await again.state("online");
    assert.deepEqual(again.of(c).map((e) => e.seq), log.map((e) => e.seq));
    assert.deepEqual(again.of(d).map((e) => e.content), ["later 0", "later 1", "later 2"]);
    assert.deepEqual(again.told.gap, []);
  });

  test("what is no cursor, and one of another user", async (t) => {
    const world = World.on(t, server);
    const { c, me, proxy, bob } = await live(world);
    assert.throws(() => connect({ url: proxy.url, token: async () => token(me), after: "nonsense" }), { code: "invalid", field: "after" });
    await world.conversation(`eve${n}`, "alice", "eve");
    const eve = world.client("eve", proxy, { after: bob.client.cursor()! });
    await eve.state("online");
    assert.equal(eve.told.error[0]?.code, "invalid");
    await world.say("alice", `eve${n}`, "hi eve");
    await eve.upTo(`eve${n}`, 3);
    assert.deepEqual(eve.of(c), []);
  });

  test("what history does not have comes as an event", async (t) => {
    const world = World.on(t, server);
    await world.conversation(`h${++n}`, "alice", `bob${n}`);
    await world.say("alice", `h${n}`, "one");
    const proxy = await world.proxy();
    // The history is asked for before there is any connection.
    proxy.packet = (p) => (p.type === "connect" ? "cut" : "pass");
    const bob = world.client(`bob${n}`, proxy);
    const { items, headSeq, firstSeq } = await bob.client.history(`h${n}`);
    assert.deepEqual([items.map((e) => e.seq), headSeq, firstSeq], [[1, 2, 3], 3, 1]);
    proxy.packet = () => "pass";
    await world.say("alice", `h${n}`, "two");
    await bob.upTo(`h${n}`, 4);
    assert.deepEqual(bob.entries.map((e) => e.seq), [4]);
    const folded: Folded[] = (await bob.client.messages(`h${n}`, { limit: 1 })).items;
    assert.deepEqual(folded.map((e) => e.content), ["two"]);
  });

  test("sync() while all is well brings nothing twice", async (t) => {
    const world = World.on(t, server);
    const { c, me, bob } = await live(world);
    const say = async () => {
      for (let i = 0; i < 10; i++) await world.say("alice", c, `text ${i}`);
    };
    await Promise.all([say(), bob.client.sync(), bob.client.sync(), bob.client.sync()]);
    await bob.client.sync();
    await world.wantLog(bob, me, c, 3);
  });
});

/** Waits until an entry was on its way through the proxy. */
async function passed(proxy: Proxy, c: string, seq: number): Promise<void> {
  await proxy.until(() => proxy.seen.some((p) => !p.up && p.topic === `chat/${c}/messages` && JSON.parse(p.text).seq === seq));
}
