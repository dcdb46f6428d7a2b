import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry, Folded, HistoryOptions } from "@parley/client";
import type { Store } from "../src/store.ts";
import { fold } from "../src/fold.ts";
import { Thread } from "../src/thread.ts";

function message(seq: number, more: Partial<Entry> = {}): Entry {
  const createdAt = new Date(Date.UTC(2026, 10, 23) + seq * 1000).toISOString();
  return { id: `${seq}`, conversationId: "c1", seq, type: "message", senderId: "bob", content: `m${seq}`, createdAt, ...more };
}

/** A server with one conversation, whose answers wait until they are let go. */
class Server {
  log: Entry[] = [];
  held: (() => void)[] = [];
  hold = false;

  messages = async (_: string, o: HistoryOptions = {}) => {
    const answer = this.#answer(o, (e) => e.type === "message");
    if (this.hold) await new Promise<void>((go) => this.held.push(go));
    return answer;
  };
  history = async (_: string, o: HistoryOptions = {}) => this.#answer(o, () => true);
  conversation = async () => ({ members: [], firstSeq: 1 });
  receipts = async () => [];

  #answer(o: HistoryOptions, wanted: (e: Entry) => boolean) {
    const folded = this.log.reduce<readonly Folded[]>(fold, []);
    const source: readonly Entry[] = wanted(message(1, { type: "join" })) ? this.log : folded;
    const found = source.filter((e) => wanted(e) && e.seq < (o.before ?? Infinity) && e.seq > (o.after ?? 0));
    const items = o.after !== undefined ? found.slice(0, o.limit) : found.slice(-o.limit!);
    return { items, headSeq: this.log.length, firstSeq: 1 };
  }

  release(): void {
    for (const go of this.held.splice(0)) go();
  }
}

const turn = () => new Promise((go) => setTimeout(go, 0));

function open(server: Server, at?: number): Thread {
  const store = { client: server, me: { value: "alice" }, removed: { value: new Set() }, conversation: () => ({ unread: 2, readSeq: 98 }) };
  return new Thread(store as unknown as Store, "c1", at);
}

const seqs = (t: Thread) => t.items.value.map((m) => m.seq);
const run = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test("what is committed while the messages load is there once", async () => {
  const server = new Server();
  server.log = run(1, 5).map((n) => message(n));
  server.hold = true;
  const t = open(server);
  await turn();
  t.take(message(5)); // in the answer too
  t.take(message(6));
  t.take(message(7, { type: "edit", target: 2, content: "edited" }));
  server.release();
  await turn();
  assert.deepEqual(seqs(t), [1, 2, 3, 4, 5, 6]);
  assert.equal(t.items.value[1]!.content, "edited");
  assert.equal(t.state.value, "ready");
});

test("it opens at the newest and grows to the first, with who joined", async () => {
  const server = new Server();
  server.log = [message(1, { type: "join", userId: "alice" }), ...run(2, 100).map((n) => message(n))];
  const t = open(server);
  await turn();
  assert.deepEqual(seqs(t), run(61, 100));
  assert.equal(t.newFrom.value, 99);
  await t.older();
  await t.older();
  assert.deepEqual(seqs(t), run(1, 100));
  assert.equal(t.hasOlder.value, false);
});

test("a jump shows what is around, and the way to the newest is whole", async () => {
  const server = new Server();
  server.log = run(1, 200).map((n) => message(n));
  const t = open(server);
  await turn();
  await t.jump(50);
  assert.deepEqual(seqs(t), run(31, 70));
  assert.deepEqual([t.hasOlder.value, t.hasNewer.value, t.target.value?.seq], [true, true, 50]);
  server.log.push(message(201)); // it does not belong behind 70
  t.take(message(201));
  assert.deepEqual(seqs(t), run(31, 70));
  while (t.hasNewer.value) await t.newer();
  assert.deepEqual(seqs(t), run(31, 201));
  server.log.push(message(202));
  t.take(message(202));
  assert.deepEqual(seqs(t), run(31, 202));
});

test("what comes while newer ones load is behind them", async () => {
  const server = new Server();
  server.log = run(1, 90).map((n) => message(n));
  const t = open(server, 40);
  await turn();
  assert.deepEqual(seqs(t), run(21, 60));
  server.hold = true;
  const loading = t.newer();
  await turn();
  server.log.push(message(91));
  t.take(message(91));
  server.release();
  await loading;
  assert.deepEqual(seqs(t), run(21, 91));
});

test("a conversation that cannot be read says so, and is read with the next link", async () => {
  const server = new Server();
  server.log = [message(1)];
  const messages = server.messages;
  server.messages = () => Promise.reject(new Error("no link"));
  const t = open(server);
  await turn();
  assert.equal(t.state.value, "failed");
  server.messages = messages;
  await t.refresh();
  assert.deepEqual(seqs(t), [1]);
  assert.equal(t.state.value, "ready");
});

test("of two loads the newer one counts, and nothing that came meanwhile is lost", async () => {
  const server = new Server();
  server.log = run(1, 5).map((n) => message(n));
  const t = open(server);
  await turn();
  server.hold = true;
  void t.load();
  await turn();
  void t.load();
  await turn();
  const [first, second] = server.held.splice(0);
  first!();
  await turn();
  server.log.push(message(6));
  t.take(message(6));
  second!(); // it was answered before
  await turn();
  assert.deepEqual(seqs(t), run(1, 6));
});

test("older messages of a stretch that is left are not put before another one", async () => {
  const server = new Server();
  server.log = run(1, 500).map((n) => message(n));
  const t = open(server, 100);
  await turn();
  server.hold = true;
  void t.older();
  await turn();
  const [older] = server.held.splice(0);
  server.hold = false;
  await t.jump(400);
  older!();
  await turn();
  const shown = seqs(t);
  assert.deepEqual(shown, run(shown[0]!, shown.at(-1)!));
  assert.ok(shown.includes(400));
});

test("many who come at once are read once, and once more", async () => {
  const server = new Server();
  let asked = 0;
  server.receipts = async () => (asked++, []);
  const t = open(server);
  await turn();
  asked = 0;
  for (const seq of run(1, 500)) t.take(message(seq, { type: "join", userId: `user${seq}` }));
  await turn();
  await t.loadPeople();
  assert.ok(asked <= 3, `asked ${asked} times`);
});
