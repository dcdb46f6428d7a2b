// A conversation that is deleted and made again under its id: its entries
// begin at 1 again, and are others.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { World } from "./kit.js";
import { Server } from "./server.js";

describe("a conversation that is made again", () => {
  let server: Server;
  before(async () => void (server = await Server.start()));
  after(() => server.remove());

  let n = 0;
  for (const heard of [false, true]) {
    for (const said of [1, 6]) {
      for (const away of ["online", "offline", "in another page"] as const) {
        test(`${heard ? "heard" : "quiet"} before, ${said} messages after, ${away}`, async (t) => {
          const world = World.on(t, server);
          const c = `again${++n}`;
          await world.conversation(c, "alice", "bob");
          await world.say("alice", c, "one");
          await world.say("alice", c, "two");
          const proxy = await world.proxy();
          let bob = world.client("bob", proxy);
          await bob.state("online");
          if (heard) await bob.upTo(c, await world.say("alice", c, "three"));
          let had = bob.of(c).length;
          if (away === "offline") {
            proxy.down = true;
            proxy.cutMQTT();
            await bob.state("offline");
          } else if (away === "in another page") {
            await bob.client.close();
          }
          await server.rest("alice", "DELETE", `/v1/conversations/${c}`);
          await world.conversation(c, "alice", "bob");
          for (let i = 1; i <= said; i++) await world.say("alice", c, `anew ${i}`);
          proxy.down = false;
          if (away === "in another page") {
            bob = world.client("bob", proxy, { after: bob.client.cursor()! });
            had = 0;
          }
          await world.say("alice", c, "the end");
          await bob.until("the end", () => bob.entries.at(-1)?.content === "the end");
          const log = await server.log("bob", c);
          const own = log.findIndex((e) => e.type === "join" && e.userId === "bob");
          assert.deepEqual(bob.of(c).slice(had).map((e) => e.id), log.slice(own).map((e) => e.id));
          assert.deepEqual(bob.told.gap, []);
        });
      }
    }
  }
});
