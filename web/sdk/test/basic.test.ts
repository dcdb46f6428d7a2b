import assert from "node:assert/strict";
import { test } from "node:test";
import { World } from "./kit.js";

test("two chat", async (t) => {
  const world = await World.start(t);
  const proxy = await world.proxy();
  await world.conversation("c1", "alice", "bob");
  const alice = world.client("alice", proxy);
  const bob = world.client("bob", proxy);
  await Promise.all([alice.state("online"), bob.state("online")]);
  assert.equal(alice.client.userId, "alice");
  const sent = await alice.client.sendMessage("c1", "hi bob");
  assert.equal(sent.seq, 3);
  await bob.client.react("c1", sent.seq, "👍");
  await alice.client.editMessage("c1", sent.seq, "hi, Bob");
  await alice.client.deleteMessage("c1", sent.seq);
  await Promise.all([alice.upTo("c1", 6), bob.upTo("c1", 6)]);
  for (const w of [alice, bob]) {
    assert.deepEqual(w.entries.map((e) => [e.seq, e.type]), [[3, "message"], [4, "reaction"], [5, "edit"], [6, "delete"]]);
  }
  assert.deepEqual(alice.client.outbox, []);
});
