// Tokens, refusals, and ends of connections: renewed unseen, and never a hot loop.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { connect } from "../src/index.js";
import { World, once, type Watched } from "./kit.js";
import { Server, token } from "./server.js";

describe("the link", () => {
  let server: Server;
  before(async () => {
    server = await Server.start();
    await server.rest("alice", "POST", "/v1/conversations", { id: "c", members: ["bob", "carol"] });
  });
  after(() => server.remove());

  /** Says something as alice, and wants w to be told. */
  async function works(world: World, w: Watched): Promise<void> {
    await w.upTo("c", await world.say("alice", "c", "still there?"));
  }

  const offline = (w: Watched) => w.told.status.filter((s) => s.state === "offline");

  test("a token that is about to expire is renewed in place, unseen", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    let calls = 0;
    let called = () => {};
    const bob = world.client("bob", proxy, {
      token: async () => {
        calls++;
        called();
        return token("bob", { ttl: 1.2 });
      },
    });
    await bob.state("online");
    // Longer than two tokens live.
    await new Promise<void>((resolve) => (called = () => calls === 5 && resolve()));
    await works(world, bob);
    await bob.client.history("c", { limit: 1 });
    assert.equal(proxy.connects.length, 1);
    assert.deepEqual(bob.told.status.map((s) => s.state), ["connecting", "syncing", "online"]);
    assert.deepEqual(bob.told.error, []);
  });

  test("the server's warning renews it too, when the clock here is wrong", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    let calls = 0;
    // This clock is an hour late: by it the token has long to live.
    const now = Date.now;
    Date.now = () => now() - 3_600_000;
    t.after(() => (Date.now = now));
    const late = (ttl: number) => {
      const here = Date.now;
      Date.now = now;
      const made = token("bob", { ttl });
      Date.now = here;
      return made;
    };
    const bob = world.client("bob", proxy, { token: async () => late(calls++ === 0 ? 61 : 600) });
    await bob.state("online");
    await proxy.until(() => proxy.seen.some((p) => p.up && p.topic === "users/bob/token"));
    assert.equal(calls, 2);
    assert.equal(proxy.connects.length, 1);
  });

  test("a token that has expired is replaced at once", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    // An app that keeps its token until it has expired.
    let kept = token("bob", { ttl: 1 });
    const ends = Date.now() + 1000;
    const bob = world.client("bob", proxy, {
      backoff: { min: 5, max: 60_000 },
      token: async () => (Date.now() < ends ? kept : (kept = token("bob"))),
    });
    await bob.state("online");
    await bob.until("another connection", () => bob.told.status.filter((s) => s.state === "online").length === 2);
    assert.equal(proxy.connects.length, 2);
    assert.deepEqual(offline(bob), []);
    await works(world, bob);
  });

  test("REST renews a refused token once", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    let calls = 0;
    const bob = world.client("bob", proxy, {
      backoff: { min: 60_000, max: 60_000 },
      token: async () => (calls++ === 0 ? token("bob", { key: "another secret, also of 32 bytes and more" }) : token("bob")),
    });
    assert.equal((await bob.client.conversation("c")).id, "c");
    const eve = world.client("eve", proxy, { token: async () => token("eve", { key: "another secret, also of 32 bytes and more" }) });
    await assert.rejects(eve.client.conversations(), { code: "unauthorized", status: 401 });
  });

  for (const [name, give, most] of [
    ["that is the same again", (bad: string) => bad, 1],
    ["that is as bad", () => token("bob", { key: "another secret, also of 32 bytes and more" }), 5],
  ] as const) {
    test(`a refused token is followed by one ${name}: no hot loop`, async (t) => {
      const world = World.on(t, server);
      const proxy = await world.proxy();
      const bad = token("bob", { key: "another secret, also of 32 bytes and more" });
      let good = false;
      const max = 200;
      const bob = world.client("bob", proxy, { backoff: { min: 1, max }, token: async () => (good ? token("bob") : give(bad)) });
      await bob.until("four waits", () => bob.waits.length === 4);
      assert.ok(bob.waits.every((ms) => ms >= max / 2 - 5), `waits ${bob.waits}`);
      assert.ok(offline(bob).every((s) => s.reason?.code === "unauthorized"));
      assert.ok(proxy.connects.length <= most, `${proxy.connects.length} connections`);
      good = true;
      await bob.state("online");
    });
  }

  test("a token that is revoked ends the connection, and another begins one", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    const carol = world.client("carol", proxy);
    await carol.state("online");
    // The newest request was made with the connection's token.
    await server.rest("root", "POST", "/v1/tokens/revoke", { jti: JSON.parse(atob(proxy.lastToken.split(".")[1]!)).jti }, "admin");
    await carol.until("another connection", () => carol.told.status.filter((s) => s.state === "online").length === 2);
    assert.equal(proxy.connects.length, 2);
  });

  test("token() that fails is asked again, later and later", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    let calls = 0;
    const bob = world.client("bob", proxy, {
      token: async () => {
        if (++calls < 4) throw new Error("signed out");
        return token("bob");
      },
    });
    await bob.state("online");
    assert.deepEqual(offline(bob).map((s) => s.reason?.code), ["token", "token", "token"]);
    assert.match(offline(bob)[0]!.reason!.message, /signed out/);
    assert.equal(proxy.connects.length, 1);
  });

  test("what is no token, and one of another user", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    const none = world.client("bob", proxy, { token: async () => "nonsense" });
    await none.until("a reason", () => offline(none)[0]?.reason?.code === "token");
    let calls = 0;
    const two = world.client("bob", proxy, { token: async () => token(calls++ ? "carol" : "bob") });
    await two.state("online");
    proxy.cutMQTT();
    await two.state("closed");
    assert.equal(two.client.status.reason?.code, "forbidden");
  });

  test("who is kicked comes back later and later", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    const bob = world.client("bob", proxy, { clientId: "kicked", backoff: { min: 50, max: 60_000 } });
    for (let n = 1; n <= 2; n++) {
      await bob.until("online", () => bob.told.status.filter((s) => s.state === "online").length === n);
      await server.rest("root", "DELETE", "/v1/admin/connection?user=bob&client=kicked", undefined, "admin");
      await bob.until("a wait", () => bob.waits.length === n);
    }
    assert.ok(bob.waits[0]! >= 390 && bob.waits[1]! >= 390, `waits ${bob.waits}`);
    assert.equal(bob.client.status.reason?.code, "kicked");
    assert.equal(proxy.connects.length, 2);
  });

  test("who is taken over stays away", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    const one = world.client("bob", proxy, { clientId: "same" });
    await one.state("online");
    const two = world.client("bob", proxy, { clientId: "same" });
    await one.state("closed");
    assert.equal(one.client.status.reason?.code, "taken_over");
    await two.state("online");
    assert.equal(proxy.connects.length, 2);
    await assert.rejects(one.client.sendMessage("c", "x"), { code: "closed" });
    await works(world, two);
  });

  test("a server that does not answer is left", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    const bob = world.client("bob", proxy, { timeout: 400 });
    await bob.state("online");
    // All of a sudden nothing moves any more, not even a FIN.
    const meet = once((p) => p.up && p.type === "pingreq", "hang");
    proxy.packet = meet.packet;
    await bob.until("it is noticed", () => bob.told.status.some((s) => s.state === "offline"));
    assert.ok(meet.met());
    await bob.state("online");
    await works(world, bob);
  });

  test("waits grow, and are never equal", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    proxy.down = true;
    const bob = world.client("bob", proxy, { backoff: { min: 8, max: 64 } });
    await bob.until("waits", () => bob.waits.length === 8);
    for (const [i, ms] of bob.waits.entries()) {
      const whole = Math.min(64, 8 * 2 ** i);
      assert.ok(ms <= whole + 1 && ms >= whole / 2 - 4, `wait ${i} is ${ms}`);
    }
    proxy.down = false;
    await bob.state("online");
  });

  test("a browser's event shortens the wait", async (t) => {
    const world = World.on(t, server);
    const listeners = new Map<string, () => void>();
    const page = { addEventListener: (k: string, f: () => void) => listeners.set(k, f), removeEventListener: (k: string) => listeners.delete(k), visibilityState: "visible" };
    Object.assign(globalThis, { document: page, addEventListener: page.addEventListener, removeEventListener: page.removeEventListener });
    t.after(() => {
      for (const key of ["document", "addEventListener", "removeEventListener"]) Reflect.deleteProperty(globalThis, key);
    });
    for (const event of ["online", "visibilitychange"]) {
      const proxy = await world.proxy();
      proxy.down = true;
      const bob = world.client("bob", proxy, { backoff: { min: 600_000, max: 600_000 } });
      await bob.state("offline");
      proxy.down = false;
      listeners.get(event)!();
      await bob.state("online");
      await bob.client.close();
      assert.equal(listeners.size, 0);
    }
  });

  test("closing ends an attempt to connect", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    proxy.packet = () => "hang";
    const bob = world.client("bob", proxy, { timeout: 600_000 });
    await proxy.until(() => proxy.seen.length > 0);
    await bob.client.close();
    assert.equal(bob.client.status.state, "closed");
    await proxy.until(() => proxy.open === 0);
  });

  test("a page without TLS has less of crypto", async (t) => {
    const world = World.on(t, server);
    const uuid = crypto.randomUUID;
    Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
    t.after(() => Reflect.deleteProperty(crypto, "randomUUID"));
    const bob = world.client("bob", await world.proxy());
    assert.match((await bob.client.sendMessage("c", "hi")).id, /-/);
    assert.equal(typeof uuid, "function");
  });

  test("the server is told when the client goes", async (t) => {
    const world = World.on(t, server);
    const proxy = await world.proxy();
    const bob = world.client("bob", proxy);
    await bob.state("online");
    await bob.client.close();
    await proxy.until(() => proxy.seen.some((p) => p.up && p.type === "disconnect"));
    await bob.client.close(); // again does no harm
  });

  test("a server that stops is come back to", async (t) => {
    const world = await World.start(t);
    await world.conversation("c", "alice", "bob");
    const proxy = await world.proxy();
    const bob = world.client("bob", proxy);
    await bob.state("online");
    await world.server.stop("SIGTERM");
    await bob.state("offline");
    const waiting = bob.client.sendMessage("c", "said meanwhile");
    await world.server.start();
    assert.equal((await waiting).seq, 3);
    await world.wantLog(bob, "bob", "c", 3);
  });

  test("options that cannot be", () => {
    for (const [o, field] of [[{ url: "ftp://x" }, "url"], [{ url: "" }, "url"], [{ token: "abc" }, "token"]] as const) {
      assert.throws(() => connect({ url: "http://localhost", token: async () => "", ...(o as object) }), { code: "invalid", field });
    }
  });
});
