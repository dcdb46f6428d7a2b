// A database that is set back to a backup gives seqs again that it gave before.
// Whoever had those must not take the new entries for the old.
import assert from "node:assert/strict";
import { test } from "node:test";
import { World } from "./kit.js";

for (const { name, before, after } of [
  { name: "while the head is below the place", before: 8, after: 2 },
  { name: "when the head has passed the place", before: 3, after: 9 },
]) {
  test(`a restore ${name}`, async (t) => {
    const world = await World.start(t);
    const proxy = await world.proxy();
    await world.conversation("c1", "alice", "bob");
    const bob = world.client("bob", proxy);
    await bob.state("online");
    await world.say("alice", "c1", "in the backup"); // 3
    await bob.upTo("c1", 3);

    const restore = world.server.backup();
    for (let i = 0; i < before; i++) await world.say("alice", "c1", `lost ${i}`);
    await bob.upTo("c1", 3 + before);

    proxy.down = true;
    proxy.cut();
    await world.server.stop();
    restore();
    await world.server.start();
    for (let i = 0; i < after; i++) await world.say("alice", "c1", `new ${i}`);
    proxy.down = false;

    // What was said meanwhile is to be loaded, and what is said now comes.
    await bob.until("a gap", () => bob.told.gap.length > 0);
    assert.deepEqual(bob.told.gap, [{ conversationId: "c1", first: 4 + after }]);
    const last = await world.say("alice", "c1", "and now");
    assert.equal(last, 4 + after);
    await bob.until("the new entry", () => bob.entries.at(-1)?.content === "and now");
    assert.equal(bob.entries.at(-1)!.seq, last);
  });
}
