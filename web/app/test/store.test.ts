import assert from "node:assert/strict";
import { test } from "node:test";
import type { Client, Conversation, Entry, Events, Pending } from "@parley/client";

Object.assign(globalThis, { location: { origin: "http://localhost", hash: "" }, addEventListener: () => {}, document: { visibilityState: "visible" } });
const { Store } = await import("../src/store.ts");

/** A client of which the test decides what it tells and answers. */
class Fake {
  readonly handlers = new Map<string, (e: never) => void>();
  userId = "";
  outbox: Pending[] = [];
  list: Conversation[] = [];
  asked = 0;

  on = (name: string, f: (e: never) => void) => (this.handlers.set(name, f), () => this.handlers.delete(name));
  tell = <K extends keyof Events>(name: K, e: Events[K]) => this.handlers.get(name)?.(e as never);
  conversations = async () => (this.asked++, { items: this.list });
  messages = async () => ({ items: [], headSeq: 0, firstSeq: 1 });
  history = this.messages;
  conversation = async () => ({ members: [] });
  receipts = async () => [];
  close = async () => {};
  sendMessage = async () => {
    throw new Error("no");
  };

  /** A store that is online. */
  static async store(user: string, ...list: Conversation[]) {
    const client = new Fake();
    client.list = list;
    const store = new Store(async () => "", () => {}, () => client as unknown as Client);
    client.userId = user;
    client.tell("status", { state: "online" });
    await turn();
    return { client, store };
  }
}

const turn = () => new Promise((go) => setImmediate(go));

function conversation(id: string, headSeq: number, createdAt = "2026-11-23T10:00:00.000Z"): Conversation {
  return { id, name: "", ownerId: "bob", createdAt, headSeq, readSeq: headSeq, unread: 0 };
}

function entry(conversationId: string, seq: number, more: Partial<Entry> = {}): Entry {
  return { id: `${conversationId}-${seq}`, conversationId, seq, type: "message", senderId: "bob", content: `m${seq}`, createdAt: "2026-11-23T11:00:00.000Z", ...more };
}

test("what is written stays with who wrote it", async () => {
  const alice = await Fake.store("alice");
  alice.store.drafts.set("c1", "only alice says so");
  await alice.store.send("c1", { content: "refused" });
  alice.store.close();
  const bob = await Fake.store("bob");
  assert.deepEqual([bob.store.drafts.get("c1"), bob.store.refused.value], [undefined, []]);
  bob.store.close();
  const again = await Fake.store("alice");
  assert.equal(again.store.drafts.get("c1"), "only alice says so");
  assert.deepEqual(again.store.refused.value.map((r) => r.content), ["refused"]);
  again.store.close();
});

test("what an earlier page sent and is refused now is shown, not lost", async () => {
  const { client, store } = await Fake.store("carol", conversation("c1", 3));
  client.outbox = [{ conversationId: "c1", clientId: "x-1", content: "hi", queuedAt: "", owner: "another" }];
  client.tell("error", { code: "forbidden", message: "not a member", clientId: "x-1" });
  assert.deepEqual(store.refused.value, [{ conversationId: "c1", clientId: "x-1", content: "hi", reason: "not a member" }]);
  store.close();
});

test("the list follows an edit of the message it shows", async () => {
  const { client, store } = await Fake.store("alice", conversation("c1", 3));
  client.tell("entry", entry("c1", 4));
  client.tell("entry", entry("c1", 5, { type: "edit", target: 4, content: "edited" }));
  assert.equal(store.conversation("c1")?.lastMessage?.content, "edited");
  store.close();
});

test("a conversation that was deleted and made again is not taken for the old one", async () => {
  const { client, store } = await Fake.store("alice", conversation("c1", 50));
  client.list = [{ ...conversation("c1", 3, "2026-11-23T10:59:59.000Z"), unread: 1 }];
  client.tell("entry", entry("c1", 2, { type: "join", userId: "alice" }));
  client.tell("entry", entry("c1", 3));
  await store.refresh();
  assert.deepEqual([store.conversation("c1")?.headSeq, store.conversation("c1")?.unread], [3, 1]);
  client.tell("entry", entry("c1", 4));
  assert.equal(store.conversation("c1")?.lastMessage?.content, "m4");
  store.close();
});

test("what is said in an archived conversation does not have the list read each time", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, store } = await Fake.store("alice", conversation("c1", 3));
  client.tell("entry", entry("archived", 1));
  t.mock.timers.tick(1000);
  await turn();
  client.asked = 0;
  for (let seq = 2; seq < 50; seq++) client.tell("entry", entry("archived", seq));
  t.mock.timers.tick(1000); // longer than refreshSoon waits
  await turn();
  assert.equal(client.asked, 0);
  client.tell("entry", entry("archived", 50, { type: "join", userId: "alice" }));
  client.list = [conversation("archived", 50), conversation("c1", 3)];
  await store.refresh();
  assert.equal(store.list.value.length, 2);
  store.close();
});
