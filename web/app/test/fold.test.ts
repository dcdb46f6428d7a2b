import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry, Folded } from "@parley/client";
import { fate, fold, merge, rows, seenBy } from "../src/fold.ts";

const start = Date.UTC(2026, 10, 23, 12);

function entry(seq: number, more: Partial<Entry> = {}): Entry {
  return {
    id: `id${seq}`,
    conversationId: "c1",
    seq,
    type: "message",
    senderId: "alice",
    content: `text ${seq}`,
    createdAt: new Date(start + seq * 1000).toISOString(),
    ...more,
  };
}

const all = (...entries: Entry[]) => entries.reduce<readonly Folded[]>(fold, []);

test("messages stand by seq, once", () => {
  const items = all(entry(2), entry(1), entry(3), entry(2));
  assert.deepEqual(
    items.map((m) => m.seq),
    [1, 2, 3],
  );
});

test("a message that comes again does not undo its edit", () => {
  const items = all(entry(1), entry(2, { type: "edit", target: 1, content: "new" }), entry(1));
  assert.equal(items[0]!.content, "new");
  assert.equal(items[0]!.editedAt, entry(2).createdAt);
});

test("a delete erases, and nothing brings it back", () => {
  const items = all(
    entry(1, { mediaUrl: "https://h/" }),
    entry(2, { type: "reaction", target: 1, emoji: "👍", senderId: "bob" }),
    entry(3, { type: "delete", target: 1 }),
    entry(4, { type: "edit", target: 1, content: "back" }),
    entry(5, { type: "reaction", target: 1, emoji: "👍", senderId: "bob" }),
  );
  const { content, mediaUrl, reactions, deleted } = items[0]!;
  assert.deepEqual({ content, mediaUrl, reactions, deleted }, { content: undefined, mediaUrl: undefined, reactions: undefined, deleted: true });
});

test("reactions count users, whatever comes twice", () => {
  const r = (seq: number, senderId: string, emoji: string, remove = false) => entry(seq, { type: "reaction", target: 1, senderId, emoji, remove });
  let items = all(entry(1), r(2, "bob", "👍"), r(2, "bob", "👍"), r(3, "carol", "👍"), r(4, "bob", "🎉"));
  assert.deepEqual(items[0]!.reactions, [
    { emoji: "👍", count: 2, userIds: ["bob", "carol"] },
    { emoji: "🎉", count: 1, userIds: ["bob"] },
  ]);
  items = [r(5, "bob", "👍", true), r(5, "bob", "👍", true), r(6, "bob", "🎉", true), r(7, "dave", "❤️", true)].reduce(fold, items);
  assert.deepEqual(items[0]!.reactions, [{ emoji: "👍", count: 1, userIds: ["carol"] }]);
});

test("what is about messages that are not held changes nothing", () => {
  const items = all(entry(5));
  for (const type of ["edit", "delete", "reaction"] as const) assert.equal(fold(items, entry(6, { type, target: 1, emoji: "👍" })), items);
});

test("a stretch that was loaded anew is the newer one", () => {
  const items = merge([entry(1), entry(2, { content: "old" })], [entry(2, { content: "new" }), entry(3)]);
  assert.deepEqual(
    items.map((m) => m.content),
    ["text 1", "new", "text 3"],
  );
});

test("rows part days, what is new, and senders", () => {
  const day = 86_400_000;
  const items: Folded[] = [
    entry(1),
    entry(2),
    entry(3, { senderId: "bob" }),
    entry(4, { senderId: "bob", createdAt: new Date(start + 10 * 60_000).toISOString() }),
    entry(5, { type: "join", userId: "carol" }),
    entry(6, { createdAt: new Date(start + day).toISOString() }),
    entry(7, { createdAt: new Date(start + day + 1000).toISOString() }),
  ];
  const shape = rows(items, 7).map((r) => (r.kind === "message" ? `${r.message.seq}${r.first ? "f" : ""}${r.last ? "l" : ""}` : r.kind));
  assert.deepEqual(shape, ["day", "1f", "2l", "3fl", "4fl", "event", "day", "6fl", "new", "7fl"]);
});

test("who has seen a message shows at the last one, and not at one's own", () => {
  const items = [entry(1), entry(2, { senderId: "bob" }), entry(3), entry(4, { type: "join", userId: "x" })];
  const marks = new Map([
    ["alice", { read: 3, delivered: 3 }],
    ["bob", { read: 2, delivered: 3 }],
    ["carol", { read: 4, delivered: 4 }],
    ["dave", { read: 0, delivered: 0 }],
  ]);
  assert.deepEqual([...seenBy(items, marks, "alice")], [[3, ["carol"]]]);
  assert.deepEqual([...seenBy(items, marks, "carol")], []);
});

test("a message is delivered and read when it is so to everybody", () => {
  const marks = new Map([
    ["alice", { read: 9, delivered: 9 }],
    ["bob", { read: 5, delivered: 7 }],
    ["carol", { read: 3, delivered: 6 }],
  ]);
  assert.deepEqual([3, 5, 6, 7].map((seq) => fate(seq, marks, "alice")), ["read", "delivered", "delivered", "sent"]);
  assert.equal(fate(1, new Map(), "alice"), "sent");
});
