// After close() nothing comes any more, and nothing is waited for.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { connect, type Entry, type OutboxStore } from "../src/index.js";
import type { Link } from "../src/link.js";
import { Marks } from "../src/marks.js";
import { World, once } from "./kit.js";
import { Server, token } from "./server.js";

describe("closing", () => {
  let server: Server;
  before(async () => void (server = await Server.start()));
  after(() => server.remove());

  test("in the handler of an entry: the next page goes on behind it", async (t) => {
    const world = World.on(t, server);
    await world.conversation("c", "alice", "bob");
    const proxy = await world.proxy();
    const one = world.client("bob", proxy);
    await one.state("online");
    proxy.down = true;
    proxy.cutMQTT();
    await one.state("offline");
    for (let n = 1; n <= 20; n++) await world.say("alice", "c", `text ${n}`);
    const ended = new Promise<void>((resolve) => one.client.on("entry", (e) => e.content === "text 7" && void one.client.close().then(resolve)));
    proxy.down = false;
    await ended;
    assert.equal(one.entries.at(-1)?.content, "text 7");
    const two = world.client("bob", proxy, { after: one.client.cursor()! });
    await two.until("the rest", () => two.entries.at(-1)?.content === "text 20");
    assert.deepEqual(two.entries.map((e) => e.content), Array.from({ length: 13 }, (_, i) => `text ${i + 8}`));
  });

  test("what comes while the connection ends is left to the next page", async (t) => {
    const world = World.on(t, server);
    await world.conversation("d", "alice", "bob");
    const proxy = await world.proxy();
    const one = world.client("bob", proxy);
    await one.state("online");
    const meet = once((p) => p.up && p.type === "disconnect", "drop");
    proxy.packet = meet.packet;
    const closed = one.client.close();
    const told = one.entries.length;
    const again = one.client.close();
    let early = true;
    void closed.then(() => (early = false));
    await world.say("alice", "d", "late");
    await again;
    await Promise.resolve();
    assert.equal(early, false, "the second close() ended before the first one");
    assert.equal(one.entries.length, told);
    const two = world.client("bob", proxy, { after: one.client.cursor()! });
    await two.until("it", () => two.entries.at(-1)?.content === "late");
  });

  test("while token() hangs: what waits for it is refused", async () => {
    let asked = 0;
    const client = connect({ url: `http://127.0.0.1:${server.port}`, token: () => (asked++, new Promise<string>(() => {})) });
    const lost = [client.conversations(), client.messages("c"), client.sync()].map((p) => assert.rejects(p, { code: "closed" }));
    await client.close();
    await Promise.all(lost);
    await assert.rejects(client.conversations(), { code: "closed" });
    assert.equal(asked, 1);
  });

  test("a store that never answers keeps no message back, and no close()", async (t) => {
    const world = World.on(t, server);
    await world.conversation("e", "alice");
    const hang = () => new Promise<never>(() => {});
    const store: OutboxStore = { load: hang, put: hang, remove: hang };
    const alice = world.client("alice", await world.proxy(), { outbox: store });
    assert.equal((await alice.client.sendMessage("e", "hi")).seq, 2);
    assert.ok(alice.told.error.some((e) => e.code === "outbox"));
    await alice.client.close();
  });

  test("a handler that was stopped by another one is not called", async (t) => {
    const world = World.on(t, server);
    await world.conversation("f", "alice", "bob");
    const bob = world.client("bob", await world.proxy());
    await bob.state("online");
    let called = false;
    bob.client.on("message", () => stop());
    const stop = bob.client.on("message", () => (called = true));
    await world.say("alice", "f", "hi");
    await bob.upTo("f", 3);
    assert.equal(called, false);
  });
});

test("by a clock that is an hour ahead a token is not asked for with each request", async (t) => {
  const server = await Server.start();
  t.after(() => server.remove());
  const world = World.on(t, server);
  const now = Date.now;
  Date.now = () => now() + 3_600_000;
  t.after(() => (Date.now = now));
  let asked = 0;
  const alice = world.client("alice", await world.proxy(), {
    token: async () => {
      asked++;
      const here = Date.now;
      Date.now = now;
      const made = token("alice", { ttl: 600 });
      Date.now = here;
      return made;
    },
  });
  await alice.state("online");
  for (let n = 0; n < 5; n++) await alice.client.conversations();
  assert.equal(asked, 1);
});

test("who was removed asks nothing about the conversation any more", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked: string[] = [];
  const closing = new AbortController();
  const marks = new Marks(async (id) => (asked.push(id), false), { min: 1, max: 1 }, closing.signal);
  marks.up({} as Link);
  const entry = (conversationId: string): Entry => ({ id: "1", conversationId, seq: 3, type: "message", senderId: "alice", createdAt: "" });
  marks.delivered(entry("c"));
  marks.delivered(entry("d"));
  marks.left("c");
  t.mock.timers.tick(1000);
  assert.deepEqual(asked, ["d"]);
  marks.close();
});
