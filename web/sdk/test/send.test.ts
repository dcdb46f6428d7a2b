// A send, with the link cut at each stage of it: the message stands in the log
// once, in its place, the promise tells the true seq, and each event comes once.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { World, once } from "./kit.js";
import type { Fate, Packet } from "./proxy.js";
import { Server } from "./server.js";

const is = (up: boolean, type: string, topic = "") => (p: Packet) => p.up === up && p.type === type && p.topic.startsWith(topic);
const send = is(true, "publish", "chat/");
const entry = is(false, "publish", "chat/");

// What does not end the connection ends with the patience of the client.
const stages: [string, (p: Packet) => boolean, Fate[]][] = [
  ["CONNECT", is(true, "connect"), ["cut", "half", "hang"]],
  ["CONNACK", is(false, "connack"), ["cut", "half", "hang", "last"]],
  ["SUBSCRIBE", is(true, "subscribe"), ["cut", "half", "hang", "last"]],
  ["SUBACK", is(false, "suback"), ["cut", "half", "hang", "drop", "last"]],
  ["PUBLISH", send, ["cut", "half", "hang", "drop", "last"]],
  ["PUBACK", is(false, "puback"), ["cut", "half", "hang", "drop", "last"]],
  ["the entry", entry, ["cut", "half", "hang", "drop", "last"]],
  ["the entry's PUBACK", is(true, "puback"), ["cut", "half", "hang", "drop", "last"]],
];

describe("a send that meets", () => {
  let server: Server;
  before(async () => void (server = await Server.start()));
  after(() => server.remove());

  let n = 0;
  for (const [stage, fits, fates] of stages) {
    for (const fate of fates) {
      test(`${fate} at ${stage}`, async (t) => {
        const world = World.on(t, server);
        const c = `c${++n}`;
        await world.conversation(c, "alice", "bob");
        const [bad, good] = [await world.proxy(), await world.proxy()];
        const bob = world.client("bob", good);
        await bob.state("online");
        const meet = once(fits, fate);
        bad.packet = meet.packet;
        const alice = world.client("alice", bad, { timeout: fate === "hang" || fate === "drop" ? 500 : 10_000 });
        const sent = await Promise.all(["one", "two", "three"].map((text) => alice.client.sendMessage(c, text)));
        const log = (await server.log("alice", c)).slice(2);
        assert.deepEqual(log.map((e) => e.content), ["one", "two", "three"]);
        assert.deepEqual(sent, log.map(({ id, seq, createdAt }) => ({ id, seq, createdAt })));
        await world.wantLog(bob, "bob", c, 3);
        // An entry that is dropped alone shows when the next one comes.
        await world.say("bob", c, "four");
        await world.wantLog(alice, "alice", c, 3);
        assert.ok(meet.met(), "the stage was not met");
        assert.deepEqual(alice.client.outbox, []);
        assert.equal(alice.client.status.state, "online");
      });
    }
  }

  test("refusals: they reject, in their turn, and the next one goes", async (t) => {
    const world = World.on(t, server);
    await world.conversation("ref", "alice", "bob");
    await world.conversation("not-hers", "bob");
    const alice = world.client("alice", await world.proxy());
    const results = await Promise.allSettled([
      alice.client.sendMessage("ref", "   "),
      alice.client.sendMessage("ref", "fine"),
      alice.client.sendMessage("not-hers", "hi"),
      alice.client.sendMessage("nowhere", "hi"),
      alice.client.editMessage("ref", 99, "x"),
      alice.client.react("ref", 3, "👍"),
      alice.client.sendMessage("ref", "x".repeat(70_000)),
      alice.client.sendMessage("ref", { content: "x", colour: "red" } as never),
    ]);
    assert.deepEqual(
      results.map((r) => (r.status === "fulfilled" ? r.value.seq : r.reason.code)),
      ["invalid", 3, "forbidden", "not_found", "not_found", 4, "invalid", "invalid"],
    );
    assert.deepEqual(alice.told.error, []);
    assert.deepEqual(alice.client.outbox, []);
  });

  test("one clientId twice: one message, one seq", async (t) => {
    const world = World.on(t, server);
    await world.conversation("twice", "alice");
    const alice = world.client("alice", await world.proxy());
    const draft = { content: "once", clientId: "a-1" };
    const [one, two] = await Promise.all([alice.client.sendMessage("twice", draft), alice.client.sendMessage("twice", draft)]);
    assert.deepEqual(one, two);
    assert.deepEqual(await alice.client.sendMessage("twice", draft), one);
    assert.equal((await server.log("alice", "twice")).length, 2);
  });

  test("a rate limit only delays", async (t) => {
    const world = await World.start(t, { PARLEY_PUBLISH_RATE: "5" });
    await world.conversation("c", "alice");
    const alice = world.client("alice", await world.proxy());
    const texts = Array.from({ length: 12 }, (_, i) => String(i));
    await Promise.all(texts.map((text) => alice.client.sendMessage("c", text)));
    assert.deepEqual((await world.server.log("alice", "c")).slice(1).map((e) => e.content), texts);
  });

  test("ids that would be other topics", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    const alice = world.client("alice", proxy);
    await alice.state("online");
    for (const bad of ["+", "#", "a/b", "", "x".repeat(65)]) {
      const want = { code: "invalid", field: "conversationId" };
      await assert.rejects(alice.client.sendMessage(bad, "x"), want);
      await assert.rejects(alice.client.deleteMessage(bad, 1), want);
      await assert.rejects(alice.client.markRead(bad, 1), want);
      alice.client.typing(bad, true);
    }
    await alice.client.sync();
    assert.equal(proxy.connects.length, 1);
    assert.deepEqual(alice.client.outbox, []);
  });

  test("a message that the server would hang up on", async (t) => {
    const world = await World.start(t, { PARLEY_MAX_PACKET: "4096" });
    await world.conversation("c", "alice");
    const proxy = await world.proxy();
    const alice = world.client("alice", proxy);
    await assert.rejects(alice.client.sendMessage("c", "x".repeat(5000)), { code: "invalid" });
    assert.equal((await alice.client.sendMessage("c", "short")).seq, 2);
    assert.equal(proxy.connects.length, 1);
  });

  test("closing rejects what waits", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    proxy.down = true;
    const alice = world.client("alice", proxy);
    const waiting = [alice.client.sendMessage("c", "x"), alice.client.react("c", 1, "x"), alice.client.markRead("c", 1)];
    await alice.state("offline");
    await alice.client.close();
    for (const w of waiting) await assert.rejects(w, { code: "closed" });
    await assert.rejects(alice.client.sendMessage("c", "x"), { code: "closed" });
    assert.equal(alice.client.status.state, "closed");
  });
});
