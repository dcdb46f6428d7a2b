// The outbox: what is sent survives the page, and is sent once.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import "fake-indexeddb/auto";
import { indexedDBOutbox, memoryOutbox, type OutboxStore, type Pending } from "../src/index.js";
import { World, once } from "./kit.js";
import { Server } from "./server.js";

const stores: [string, (name: string) => OutboxStore][] = [["memory", () => memoryOutbox()], ["IndexedDB", indexedDBOutbox]];

for (const [kind, make] of stores) {
  test(`an outbox in ${kind} keeps the order, and each once`, async () => {
    const store = make("order");
    const p = (n: number): Pending => ({ conversationId: "c", clientId: `id-${n}`, content: `text ${n}`, queuedAt: "2026-01-01T00:00:00.000Z" });
    for (const n of [3, 1, 2, 10]) await store.put(p(n));
    await store.put({ ...p(1), content: "another" });
    assert.deepEqual(await store.load(), [p(3), p(1), p(2), p(10)]);
    await store.remove("id-1");
    await store.remove("id-1");
    await store.remove("never");
    assert.deepEqual((await store.load()).map((e) => e.clientId), ["id-3", "id-2", "id-10"]);
    if (kind === "IndexedDB") assert.equal((await indexedDBOutbox("order").load()).length, 3);
  });
}

describe("over a reload", () => {
  let server: Server;
  before(async () => void (server = await Server.start()));
  after(() => server.remove());

  let n = 0;
  for (const [kind, make] of stores) {
    test(`what was said while away is sent by the next page, once (${kind})`, async (t) => {
      const world = World.on(t, server);
      const c = `c${++n}`;
      await world.conversation(c, "alice");
      const store = make(`reload ${n}`);
      const proxy = await world.proxy();
      proxy.down = true;
      const one = world.client("alice", proxy, { outbox: store });
      const lost = ["one", "two", "three"].map((text) => one.client.sendMessage(c, { content: text, mentions: ["alice"] }));
      assert.deepEqual(one.client.outbox.map((p) => p.content), ["one", "two", "three"]);
      await one.state("offline");
      const rejected = lost.map((l) => assert.rejects(l, { code: "closed" }));
      await one.client.close();
      await Promise.all(rejected);

      proxy.down = false;
      const two = world.client("alice", proxy, { outbox: store });
      const four = await two.client.sendMessage(c, "four");
      assert.equal(four.seq, 5);
      assert.deepEqual((await server.log("alice", c)).slice(1).map((e) => [e.content, e.mentions]),
        [["one", ["alice"]], ["two", ["alice"]], ["three", ["alice"]], ["four", undefined]]);
      await two.until("an empty outbox", () => two.client.outbox.length === 0);
      await two.client.close();
      assert.deepEqual(await store.load(), []);
      assert.deepEqual(two.told.outbox.at(-1), []);
    });

    test(`what was committed unheard is not sent twice (${kind})`, async (t) => {
      const world = World.on(t, server);
      const c = `c${++n}`;
      await world.conversation(c, "alice");
      const store = make(`unheard ${n}`);
      const proxy = await world.proxy();
      const one = world.client("alice", proxy, { outbox: store });
      await one.state("online");
      const meet = once((p) => !p.up && p.type === "puback", "hang");
      proxy.packet = meet.packet;
      const lost = one.client.sendMessage(c, "once");
      lost.catch(() => {});
      await proxy.until(meet.met); // committed, and the page goes
      await one.client.close();
      const two = world.client("alice", proxy, { outbox: store });
      await two.until("an empty outbox", () => two.told.outbox.at(-1)?.length === 0);
      await two.client.sendMessage(c, "next");
      assert.deepEqual((await server.log("alice", c)).slice(1).map((e) => e.content), ["once", "next"]);
      await two.client.close();
      assert.deepEqual(await store.load(), []);
    });

    test(`what is refused for good then is told, and gone (${kind})`, async (t) => {
      const world = World.on(t, server);
      const store = make(`refused ${++n}`);
      await store.put({ conversationId: "nowhere", clientId: "x-1", content: "hi", queuedAt: new Date().toISOString() });
      const alice = world.client("alice", await world.proxy(), { outbox: store });
      let last: string | undefined;
      alice.client.on("error", (e) => (last = alice.client.outbox.find((p) => p.clientId === e.clientId)?.content));
      await alice.until("an error", () => alice.told.error.length > 0);
      assert.equal(last, "hi");
      assert.deepEqual(alice.told.error.map((e) => [e.code, e.clientId]), [["not_found", "x-1"]]);
      await alice.client.close();
      assert.deepEqual(await store.load(), []);
    });
  }

  test("each user and server has an outbox of its own", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    await world.conversation("own", "alice", "bob");
    proxy.packet = (p) => (p.up && p.type === "publish" && p.topic.startsWith("chat/") ? "drop" : "pass");
    const alice = world.client("alice", proxy);
    await alice.state("online");
    alice.client.sendMessage("own", "from alice").catch(() => {});
    await proxy.until(() => proxy.seen.some((p) => p.up && p.topic === "chat/own/messages"));
    await alice.client.close();
    proxy.packet = () => "pass";
    const bob = world.client("bob", proxy);
    await bob.client.sendMessage("own", "from bob");
    const again = world.client("alice", proxy);
    await bob.until("hers", () => bob.of("own").length === 2);
    assert.deepEqual(bob.of("own").map((e) => [e.senderId, e.content]), [["bob", "from bob"], ["alice", "from alice"]]);
    await again.until("an empty outbox", () => again.told.outbox.at(-1)?.length === 0);
  });

  test("a store that fails is told of, and the message is sent all the same", async (t) => {
    const world = World.on(t, server);
    await world.conversation("fails", "alice");
    const fail = async () => Promise.reject(new Error("quota"));
    const alice = world.client("alice", await world.proxy(), { outbox: { load: fail, put: fail, remove: fail } });
    assert.equal((await alice.client.sendMessage("fails", "hi")).seq, 2);
    await alice.until("three errors", () => alice.told.error.length === 3);
    assert.ok(alice.told.error.every((e) => e.code === "outbox" && /quota/.test(e.message)));
  });
});

describe("tabs that share an outbox", () => {
  let server: Server;
  before(async () => {
    server = await Server.start();
    Object.defineProperty(globalThis.navigator ?? Object.assign(globalThis, { navigator: {} }).navigator, "locks", { value: new Locks(), configurable: true });
  });
  after(() => {
    Reflect.deleteProperty(globalThis.navigator, "locks");
    return server.remove();
  });

  test("each sends its own, and takes over what one leaves that ends", async (t) => {
    const world = World.on(t, server);
    await world.conversation("tabs", "alice");
    const [p1, p2] = [await world.proxy(), await world.proxy()];
    p1.down = true;
    const store = () => indexedDBOutbox("tabs");
    const one = world.client("alice", p1, { outbox: store() });
    const lost = one.client.sendMessage("tabs", "from the first");
    lost.catch(() => {});
    await one.state("offline");
    const two = world.client("alice", p2, { outbox: store() });
    await two.client.sendMessage("tabs", "from the second");
    // While the first lives, its message waits for it, and is its own.
    assert.deepEqual(two.told.outbox.flat().map((p) => p.content), ["from the second"]);
    assert.deepEqual((await store().load()).map((p) => p.content), ["from the first"]);
    await one.client.close();
    p2.cutMQTT(); // it looks after each connection, and when the tab is looked at
    await two.until("the other's", () => two.of("tabs").length === 2);
    assert.deepEqual((await server.log("alice", "tabs")).slice(1).map((e) => e.content), ["from the second", "from the first"]);
    const sends = [...p1.seen, ...p2.seen].filter((p) => p.up && p.topic === "chat/tabs/messages");
    assert.equal(sends.length, 2);
  });
});

/** The Web Locks that a browser has, as far as they are used: exclusive ones. */
class Locks {
  readonly #tails = new Map<string, { held: boolean; waiting: (() => void)[] }>();

  async request(name: string, o: any, f?: any): Promise<unknown> {
    if (!f) [o, f] = [{}, o];
    let lock = this.#tails.get(name);
    if (!lock) this.#tails.set(name, (lock = { held: false, waiting: [] }));
    if (lock.held) {
      if (o.ifAvailable) return f(null);
      await new Promise<void>((resolve, reject) => {
        lock.waiting.push(resolve);
        o.signal?.addEventListener("abort", () => {
          const at = lock.waiting.indexOf(resolve);
          if (at < 0) return;
          lock.waiting.splice(at, 1);
          reject(new DOMException("aborted", "AbortError"));
        });
      });
    }
    lock.held = true;
    try {
      return await f({ name });
    } finally {
      const next = lock.waiting.shift();
      if (next) next();
      else lock.held = false;
    }
  }
}
