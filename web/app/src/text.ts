// What a message says, cut into pieces that can be shown safely: everything is
// text, and only http and https addresses become links.

export type Piece =
  | { kind: "text"; text: string }
  | { kind: "link"; text: string; href: string }
  | { kind: "mention"; text: string; userId: string };

const found = /(https?:\/\/[^\s<>"'`\u0000-\u001f\u007f]+)|(?<![A-Za-z0-9_.@:/-])@([A-Za-z0-9_.@:-]{1,64})/gi;

/** Cuts a text into pieces; `members` are the users that can be mentioned. */
export function pieces(text: string, members: ReadonlySet<string> = new Set()): Piece[] {
  const out: Piece[] = [];
  let at = 0;
  const plain = (to: number) => {
    if (to > at) out.push({ kind: "text", text: text.slice(at, to) });
  };
  for (const m of text.matchAll(found)) {
    if (m[1]) {
      const shown = withoutTail(m[1]);
      const href = safeLink(shown);
      if (!href) continue;
      plain(m.index);
      out.push({ kind: "link", text: shown, href });
      at = m.index + shown.length;
    } else {
      const userId = memberIn(m[2]!, members);
      if (!userId) continue;
      plain(m.index);
      out.push({ kind: "mention", text: `@${userId}`, userId });
      at = m.index + userId.length + 1;
    }
  }
  plain(text.length);
  return out;
}

/** The users whom a text mentions, each once. */
export function mentionsIn(text: string, members: ReadonlySet<string>): string[] {
  const users = new Set<string>();
  for (const p of pieces(text, members)) if (p.kind === "mention") users.add(p.userId);
  return [...users].slice(0, 50);
}

/** The address if it is one of http or https, else nothing. */
export function safeLink(address: string): string | undefined {
  try {
    const url = new URL(address);
    if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
    return url.href;
  } catch {
    return undefined;
  }
}

/** What ends a sentence is not part of the address in it. */
function withoutTail(address: string): string {
  let end = address.length;
  // Closing ones that nothing opens; counted once, for there may be thousands.
  const spare: Record<string, number> = {
    ")": count(address, ")") - count(address, "("),
    "]": count(address, "]") - count(address, "["),
  };
  for (;;) {
    const last = address[end - 1]!;
    if (".,;:!?…*_~".includes(last)) end--;
    else if ((spare[last] ?? 0) > 0) {
      spare[last]!--;
      end--;
    } else return address.slice(0, end);
  }
}

function count(text: string, c: string): number {
  return text.split(c).length - 1;
}

/** The longest member that a word begins with, as "@bob." is bob with a full stop. */
function memberIn(word: string, members: ReadonlySet<string>): string | undefined {
  for (let end = word.length; end > 0; end--) {
    const user = word.slice(0, end);
    if (members.has(user) && (end === word.length || /^[.:@-]+$/.test(word.slice(end)))) return user;
  }
  return undefined;
}

/** Cuts a text where words of a search stand in it, whatever their case. */
export function marked(text: string, query: string): { text: string; hit: boolean }[] {
  const words = query.match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  if (words.length === 0) return [{ text, hit: false }];
  const any = new RegExp(`(?<![\\p{L}\\p{N}])(?:${words.join("|")})(?![\\p{L}\\p{N}])`, "giu");
  const out: { text: string; hit: boolean }[] = [];
  let at = 0;
  for (const m of text.matchAll(any)) {
    if (m.index > at) out.push({ text: text.slice(at, m.index), hit: false });
    out.push({ text: m[0], hit: true });
    at = m.index + m[0].length;
  }
  if (at < text.length) out.push({ text: text.slice(at), hit: false });
  return out;
}

/** A stretch of a text around the first hit of a search. */
export function snippet(text: string, query: string, length = 120): string {
  if (text.length <= length) return text;
  const first = marked(text, query).findIndex((p) => p.hit);
  const before = marked(text, query)
    .slice(0, Math.max(first, 0))
    .reduce((n, p) => n + p.text.length, 0);
  const start = Math.max(0, Math.min(before - length / 3, text.length - length));
  return (start > 0 ? "…" : "") + text.slice(start, start + length).trim() + (start + length < text.length ? "…" : "");
}

/** Up to two letters that stand for a name. */
export function initials(name: string): string {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0]!, words[1]!].map((w) => [...w][0]) : [...(words[0] ?? "?")].slice(0, 2);
  return letters.join("").toUpperCase();
}

/** One of twelve colours for a name, always the same. */
export function hue(name: string): number {
  let n = 0x811c9dc5; // FNV-1a
  for (const c of name) n = Math.imul(n ^ c.codePointAt(0)!, 0x01000193);
  return ((n ^ (n >>> 15)) >>> 0) % 12;
}
