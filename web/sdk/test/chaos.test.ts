// Many cuts by chance, with an oracle: the server's log.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chances, seed } from "./chances.js";
import { World, type Watched } from "./kit.js";
import type { Fate, Proxy } from "./proxy.js";

/** Troubles what passes with the probability p, until it is told to stop. */
function trouble(proxy: Proxy, chance: () => number, p: number): () => void {
  const fates: Fate[] = ["cut", "half", "last", "drop", "hang"];
  const fate = (): Fate => (chance() < p ? fates[Math.floor(chance() * fates.length)]! : "pass");
  proxy.packet = fate;
  proxy.call = () => (chance() < p ? (["cut", "half", "hang"] as const)[Math.floor(chance() * 3)]! : "pass");
  return () => {
    proxy.packet = () => "pass";
    proxy.call = () => "pass";
    proxy.cut(); // what hangs
  };
}

interface Plan {
  sends: number;
  p: number;
  /** Kills the server after so many sends that were acknowledged. */
  kills?: number[];
}

const plans: [string, Plan][] = [
  ["links that are cut at any packet", { sends: 120, p: 0.02 }],
  ["links that hardly ever hold", { sends: 40, p: 0.08 }],
  ["a server that is killed again and again", { sends: 90, p: 0, kills: [10, 40, 70, 100, 130, 160] }],
  ["both", { sends: 60, p: 0.02, kills: [20, 60, 100] }],
];

for (const [name, plan] of plans) {
  test(name, async (t) => {
    t.diagnostic(`PARLEY_SDK_SEED=${seed}`);
    const chance = chances(seed);
    // Else who comes back often waits a second each time.
    const world = await World.start(t, { PARLEY_MAX_RECONNECTS: "0" });
    const conversations = ["c0", "c1", "c2"];
    for (const c of conversations) await world.conversation(c, "alice", "bob");
    const users = ["alice", "bob"];
    const proxies = [await world.proxy(), await world.proxy()];
    const clients = users.map((u, i) => world.client(u, proxies[i]!, { timeout: 800, backoff: { min: 5, max: 40 } }));
    await Promise.all(clients.map((w) => w.state("online")));
    const calm = proxies.map((p) => trouble(p, chance, plan.p));

    let acknowledged = 0;
    let tell = () => {};
    const promises: Promise<[string, string, number]>[] = [];
    const killed = (async () => {
      for (const at of plan.kills ?? []) {
        await new Promise<void>((resolve) => {
          tell = () => acknowledged >= at && resolve();
          tell();
        });
        await world.server.stop();
        await world.server.start();
      }
    })();
    const talk = async (w: Watched, user: string) => {
      for (let i = 0; i < plan.sends; i++) {
        const c = conversations[Math.floor(chance() * conversations.length)]!;
        const content = `${user} ${i}`;
        promises.push(
          w.client.sendMessage(c, content).then(({ seq }) => {
            acknowledged++;
            tell();
            return [c, content, seq];
          }),
        );
        if (chance() < 0.5) await promises.at(-1)!;
      }
    };
    await Promise.all(clients.map((w, i) => talk(w, users[i]!)));
    const sent = await Promise.all(promises);
    await killed;
    for (const stop of calm) stop();
    // One more in each: what was lost at the end shows.
    for (const c of conversations) await world.say("alice", c, "the end");

    for (const c of conversations) {
      const log = (await world.server.log("alice", c)).slice(2);
      for (const user of users) {
        const mine = sent.filter((s) => s[0] === c && s[1].startsWith(`${user} `));
        const logged = log.filter((e) => e.content.startsWith(`${user} `));
        assert.deepEqual(logged.map((e) => [c, e.content, e.seq]), mine, `what ${user} said in ${c}`);
      }
      for (const w of clients) await world.wantLog(w, "alice", c, 3);
    }
    await Promise.all(clients.map((w) => w.state("online")));
    if (plan.p > 0) assert.ok(proxies.every((p) => p.connects.length > 1), "there was no trouble");
  });
}
