// What a client does when nothing goes wrong.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { connect } from "../src/index.js";
import { World } from "./kit.js";
import { Server, token } from "./server.js";

describe("a client", () => {
  let server: Server;
  before(async () => void (server = await Server.start()));
  after(() => server.remove());

  let n = 0;
  /** Alice and bob, online, in a conversation of their own. */
  async function two(world: World) {
    const c = `c${++n}`;
    const [a, b] = [`alice${n}`, `bob${n}`];
    await world.conversation(c, a, b);
    const proxy = await world.proxy();
    const [alice, bob] = [world.client(a, proxy), world.client(b, proxy)];
    await Promise.all([alice.state("online"), bob.state("online")]);
    return { c, a, b, alice, bob, proxy };
  }

  test("messages, edits, reactions and deletes are events, in order", async (t) => {
    const { c, a, alice, bob } = await two(World.on(t, server));
    assert.equal(alice.client.userId, a);
    const typed: string[] = [];
    for (const kind of ["message", "edit", "delete", "reaction"] as const) bob.client.on(kind, (e) => typed.push(`${kind} ${e.seq}`));
    const sent = await alice.client.sendMessage(c, "hi bob");
    assert.equal(sent.seq, 3);
    await bob.client.react(c, sent.seq, "👍");
    await bob.client.react(c, sent.seq, "👍", true);
    await alice.client.editMessage(c, sent.seq, "hi, Bob");
    await bob.client.sendMessage(c, { content: "look", mediaUrl: "https://example.com/cat.jpg", replyTo: sent.seq, mentions: [a] });
    await alice.client.deleteMessage(c, sent.seq);
    await Promise.all([alice.upTo(c, 8), bob.upTo(c, 8)]);
    const want = [[3, "message"], [4, "reaction"], [5, "reaction"], [6, "edit"], [7, "message"], [8, "delete"]];
    for (const w of [alice, bob]) assert.deepEqual(w.entries.map((e) => [e.seq, e.type]), want);
    assert.deepEqual(typed, want.map(([seq, type]) => `${type} ${seq}`));
    await alice.until("the mention", () => alice.told.notification.length === 1);
    assert.equal(alice.told.notification[0]!.type, "mention");
    const { items } = await alice.client.messages(c);
    assert.deepEqual(items.map((e) => [e.seq, e.content, e.deleted]), [[3, undefined, true], [7, "look", undefined]]);
    assert.deepEqual((await alice.client.search("look")).items.map((e) => e.seq), [7]);
    assert.deepEqual(alice.told.error, []);
  });

  test("typing comes and goes", async (t) => {
    const { c, a, alice, bob, proxy } = await two(World.on(t, server));
    for (let i = 0; i < 5; i++) alice.client.typing(c, true);
    await bob.until("that she types", () => bob.told.typing.length === 1);
    alice.client.typing(c, false);
    alice.client.typing(c, false);
    await bob.until("that she stops", () => bob.told.typing.length === 2);
    alice.client.typing(c, true);
    await bob.until("that she types again", () => bob.told.typing.length === 3);
    await alice.client.sendMessage(c, "there");
    await bob.until("that she is done", () => bob.told.typing.at(-1)?.typing === false);
    assert.deepEqual(bob.told.typing[0], { conversationId: c, userId: a, typing: true });
    assert.equal(proxy.seen.filter((p) => p.up && p.topic === `chat/${c}/typing`).length, 3);
    assert.deepEqual(alice.told.typing, []);
  });

  test("what is delivered is said by itself, what is read when the app says so", async (t) => {
    const world = World.on(t, server);
    const { c, a, b, alice, bob, proxy } = await two(world);
    for (let i = 0; i < 10; i++) await alice.client.sendMessage(c, `text ${i}`);
    const of = (user: string) => alice.told.receipt.filter((r) => r.userId === user);
    await alice.until("bob has got all", () => of(b).at(-1)?.delivered === 12);
    assert.equal(of(b).at(-1)!.read, 2);
    const said = proxy.seen.filter((p) => p.up && p.topic === `chat/${c}/receipts`);
    assert.ok(said.length <= 3, `said ${said.length} times`);
    await Promise.all([bob.client.markRead(c, 5), bob.client.markRead(c, 7), bob.client.markRead(c, 6)]);
    await alice.until("bob has read some", () => of(b).at(-1)?.read === 7);
    const receipts = await alice.client.receipts(c);
    assert.deepEqual(receipts.map((r) => [r.userId, r.read, r.delivered]), [[a, 12, 12], [b, 7, 12]]);
    assert.equal((await bob.client.conversations()).items.find((e) => e.id === c)!.unread, 5);
    await assert.rejects(bob.client.markRead("nowhere", 1), { code: "not_found" });
    // Without a link it waits, the highest alone.
    proxy.down = true;
    proxy.cut();
    await bob.state("offline");
    const waiting = [bob.client.markRead(c, 9), bob.client.markRead(c, 8)];
    proxy.down = false;
    await Promise.all(waiting);
    assert.equal((await bob.client.receipts(c)).find((r) => r.userId === b)!.read, 9);
  });

  test("in a large conversation nobody says what is delivered", async (t) => {
    const world = World.on(t, server);
    const { c, a, b, alice, bob, proxy } = await two(world);
    const large = `${c}-large`;
    await world.conversation(large, a, b, ...Array.from({ length: 31 }, (_, i) => `member${i}`));
    await alice.client.sendMessage(large, "hi all");
    await bob.upTo(large, 34);
    await alice.client.sendMessage(c, "hi bob");
    await alice.until("the receipt of the small one", () => alice.told.receipt.some((r) => r.conversationId === c && r.userId === b));
    assert.deepEqual(proxy.seen.filter((p) => p.up && p.topic === `chat/${large}/receipts`), []);
  });

  test("presence is told, and holds over a reconnect", async (t) => {
    const { a, b, alice, bob, proxy } = await two(World.on(t, server));
    const last = (user: string) => bob.told.presence.filter((p) => p.userId === user).at(-1)?.status;
    await bob.until("alice is there", () => last(a) === "online");
    await alice.client.setPresence("away");
    await bob.until("alice is away", () => last(a) === "away");
    proxy.cutMQTT();
    await bob.until("alice is away again", () => proxy.seen.filter((p) => p.up && p.topic === `users/${a}/presence`).length === 2);
    const all = await bob.client.presence([a, b, "nobody"]);
    assert.deepEqual(all.map((p) => p.userId), [a, b]);
    assert.deepEqual(await bob.client.presence([]), []);
  });

  test("conversations and their members", async (t) => {
    const { c, a, b, alice, bob } = await two(World.on(t, server));
    const made = await alice.client.createConversation({ name: "Lunch", members: [b] });
    assert.deepEqual(made.members.map((m) => [m.userId, m.role]), [[a, "owner"], [b, "member"]]);
    await bob.upTo(made.id, 2);
    await alice.client.renameConversation(made.id, "Dinner");
    assert.equal((await bob.client.conversation(made.id)).name, "Dinner");
    await alice.client.addMember(made.id, "carol");
    await alice.client.addMember(made.id, b, "admin");
    assert.deepEqual((await bob.client.members(made.id)).map((m) => m.role), ["owner", "admin", "member"]);
    await bob.client.removeMember(made.id, "carol");
    await bob.client.archiveConversation(c, true);
    assert.deepEqual((await bob.client.conversations()).items.map((e) => e.id), [made.id]);
    assert.deepEqual((await bob.client.conversations({ archived: true })).items.map((e) => e.id), [c]);
    const direct = await alice.client.createConversation({ direct: b });
    assert.equal((await bob.client.conversations()).items.find((e) => e.id === direct.id)!.peerId, a);
    await bob.client.removeMember(made.id, b);
    await bob.until("his leave", () => bob.of(made.id).at(-1)?.type === "leave");
    await assert.rejects(bob.client.conversation(made.id), { code: "forbidden", status: 403 });
    assert.deepEqual(await alice.client.request("GET", "/v1/me/preferences"), { notificationEnabled: true, muted: [], mutedConversations: [] });
    await assert.rejects(alice.client.conversations({ limit: 1000 }), { code: "invalid", field: "limit" });
  });

  test("a handler that throws disturbs nobody", async (t) => {
    const { c, alice, bob } = await two(World.on(t, server));
    const uncaught: unknown[] = [];
    const set = globalThis.setTimeout;
    t.after(() => void (globalThis.setTimeout = set));
    globalThis.setTimeout = ((f: () => void, ms?: number) => {
      if (ms !== undefined) return set(f, ms);
      try {
        f();
      } catch (err) {
        uncaught.push(err);
      }
      return undefined;
    }) as never;
    const stop = bob.client.on("message", () => {
      throw new Error("the app's own");
    });
    const seqs: number[] = [];
    bob.client.on("message", (e) => seqs.push(e.seq));
    await alice.client.sendMessage(c, "one");
    await bob.upTo(c, 3);
    stop();
    await alice.client.sendMessage(c, "two");
    await bob.upTo(c, 4);
    assert.deepEqual(seqs, [3, 4]);
    assert.deepEqual(uncaught.map((e) => (e as Error).message), ["the app's own"]);
  });
});

test("REST waits where the server says so, and asks again what does no harm", async (t) => {
  const asked: string[] = [];
  const answers = [429, 503, 200, 503, 502];
  const server = createServer((q, a) => {
    asked.push(q.method!);
    a.writeHead(answers.shift() ?? 200, { "Retry-After": "0", "Content-Type": "application/json" }).end('{"items": []}');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = connect({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, token: async () => token("alice") });
  t.after(async () => {
    await client.close();
    await new Promise((resolve) => server.close(resolve));
  });
  const own = () => asked.splice(0).filter((m) => m !== "HEAD");
  assert.deepEqual(await client.conversations(), { items: [] });
  assert.deepEqual(own(), ["GET", "GET", "GET"]);
  await assert.rejects(client.markNotificationsRead({ all: true }), { code: "unavailable", status: 503, retryAfter: 0 });
  await assert.rejects(client.conversations(), { code: "unavailable", status: 502 });
  assert.deepEqual(own(), ["POST", "GET"]);
});
