// How committed entries change the messages that are shown. Pure functions:
// the same entry applied again changes nothing.
import type { Entry, Folded } from "@parley/client";

/** Messages that one sender sends within this time stand together. */
const together = 5 * 60 * 1000;

/** Applies an entry to messages in the order of seq, and answers the new ones. */
export function fold(items: readonly Folded[], e: Entry): readonly Folded[] {
  switch (e.type) {
    case "edit":
      return change(items, e.target, (m) =>
        m.deleted || e.deleted ? m : { ...m, content: e.content ?? "", editedAt: e.createdAt },
      );
    case "delete":
      return change(items, e.target, erased);
    case "reaction":
      return e.deleted ? items : change(items, e.target, (m) => react(m, e));
    default:
      return insert(items, e);
  }
}

function change(items: readonly Folded[], seq: number | undefined, f: (m: Folded) => Folded): readonly Folded[] {
  const i = items.findIndex((m) => m.seq === seq);
  if (i < 0) return items;
  const old = items[i]!;
  const now = f(old);
  return now === old ? items : items.with(i, now);
}

function insert(items: readonly Folded[], e: Folded): readonly Folded[] {
  let i = items.length;
  while (i > 0 && items[i - 1]!.seq > e.seq) i--;
  // What stands there already may have been edited since.
  if (items[i - 1]?.seq === e.seq) return items;
  return items.toSpliced(i, 0, e);
}

/** What a deleted message leaves. */
export function erased(m: Folded): Folded {
  const { content: _c, mediaUrl: _m, mentions: _n, reactions: _r, editedAt: _e, ...rest } = m;
  return { ...rest, deleted: true };
}

function react(m: Folded, e: Entry): Folded {
  if (m.deleted || !e.emoji) return m;
  const all = m.reactions ?? [];
  const i = all.findIndex((r) => r.emoji === e.emoji);
  const r = all[i];
  const had = r?.userIds.includes(e.senderId) ?? false;
  if (e.remove ? !r || !had : had) return m;
  if (!r) return { ...m, reactions: [...all, { emoji: e.emoji, count: 1, userIds: [e.senderId] }] };
  const userIds = e.remove ? r.userIds.filter((u) => u !== e.senderId) : [...r.userIds, e.senderId];
  const now = { ...r, count: r.count + (e.remove ? -1 : 1), userIds };
  return { ...m, reactions: now.count > 0 ? all.with(i, now) : all.toSpliced(i, 1) };
}

/** Puts two runs of messages together; where both have one, the second's is newer. */
export function merge(a: readonly Folded[], b: readonly Folded[]): readonly Folded[] {
  const bySeq = new Map<number, Folded>();
  for (const m of a) bySeq.set(m.seq, m);
  for (const m of b) bySeq.set(m.seq, m);
  return [...bySeq.values()].sort((x, y) => x.seq - y.seq);
}

export type Row =
  | { kind: "day"; key: string; at: Date }
  | { kind: "new"; key: string }
  | { kind: "event"; key: string; entry: Folded }
  | { kind: "message"; key: string; message: Folded; first: boolean; last: boolean };

/** Lays messages out: a line for each day, one above what is new, and what belongs together. */
export function rows(items: readonly Folded[], newFrom?: number): Row[] {
  const out: Row[] = [];
  let before: Folded | undefined;
  let day = "";
  for (const m of items) {
    const at = new Date(m.createdAt);
    let parted = false;
    if (at.toDateString() !== day) {
      day = at.toDateString();
      out.push({ kind: "day", key: `day ${day}`, at });
      parted = true;
    }
    if (m.seq === newFrom) {
      out.push({ kind: "new", key: "new" });
      parted = true;
    }
    if (m.type !== "message") {
      out.push({ kind: "event", key: `${m.seq}`, entry: m });
      before = undefined;
      continue;
    }
    const follows = !parted && before?.senderId === m.senderId && +at - +new Date(before.createdAt) < together;
    if (follows) (out.at(-1) as { last: boolean }).last = false;
    out.push({ kind: "message", key: `${m.seq}`, message: m, first: !follows, last: true });
    before = m;
  }
  return out;
}

export interface Mark {
  read: number;
  delivered: number;
}

/** By seq of a message, who has read up to it and no further; without those left out. */
export function seenBy(items: readonly Folded[], marks: ReadonlyMap<string, Mark>, except: string): Map<number, string[]> {
  const out = new Map<number, string[]>();
  const messages = items.filter((m) => m.type === "message");
  for (const [user, mark] of marks) {
    if (user === except) continue;
    const m = messages.findLast((m) => m.seq <= mark.read);
    if (!m || m.senderId === user) continue;
    out.set(m.seq, [...(out.get(m.seq) ?? []), user]);
  }
  return out;
}

/** How far a message of one's own has come with the others. */
export function fate(seq: number, marks: ReadonlyMap<string, Mark>, me: string): "sent" | "delivered" | "read" {
  const others = [...marks].filter(([user]) => user !== me).map(([, mark]) => mark);
  if (others.length === 0) return "sent";
  if (others.every((m) => m.read >= seq)) return "read";
  if (others.every((m) => m.delivered >= seq)) return "delivered";
  return "sent";
}
