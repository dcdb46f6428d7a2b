import assert from "node:assert/strict";
import { test } from "node:test";
import { hue, initials, marked, mentionsIn, pieces, safeLink, snippet } from "../src/text.ts";

const members = new Set(["alice", "bob", "bob.b", "a.b@c"]);

/** Pieces as text, links in <> and mentions in []. */
function shown(text: string): string {
  return pieces(text, members)
    .map((p) => (p.kind === "link" ? `<${p.text}>` : p.kind === "mention" ? `[${p.userId}]` : p.text))
    .join("");
}

test("links end where the sentence goes on", () => {
  for (const [text, want] of [
    ["no link", "no link"],
    ["see https://example.com.", "see <https://example.com>."],
    ["(https://example.com/a)", "(<https://example.com/a>)"],
    ["https://en.example/a_(b)", "<https://en.example/a_(b)>"],
    ["(https://en.example/a_(b))!", "(<https://en.example/a_(b)>)!"],
    ["HTTP://EXAMPLE.com/x?y=1&z=2#q, then", "<HTTP://EXAMPLE.com/x?y=1&z=2#q>, then"],
    ["https://a.example https://b.example", "<https://a.example> <https://b.example>"],
    ['"https://example.com/"', '"<https://example.com/>"'],
    ["https://", "https://"],
    ["https://example.com/ü", "<https://example.com/ü>"],
  ] as const) {
    assert.equal(shown(text), want);
  }
});

test("nothing but http and https becomes a link", () => {
  for (const text of ["javascript:alert(1)", "data:text/html,x", "ftp://h/x", "file:///etc/passwd", "JaVaScRiPt://x", "mailto:a@b", "//h/x", "www.example.com"]) {
    assert.deepEqual(pieces(text), [{ kind: "text", text }]);
    assert.equal(safeLink(text), undefined);
  }
  assert.equal(safeLink("https://h/x y"), "https://h/x%20y");
  assert.equal(safeLink("not a link"), undefined);
});

test("markup stays text", () => {
  const text = '<img src=x onerror=alert(1)> & <a href="https://h/">x</a>';
  assert.equal(
    pieces(text)
      .map((p) => p.text)
      .join(""),
    text,
  );
  assert.ok(pieces(text).every((p) => p.kind !== "link" || !/[<>"]/.test(p.href)));
});

test("pieces lose nothing", () => {
  for (const text of ["", " ", "@bob https://h/. @bob", "a\nb\tc", "😀 @alice 😀", "@@bob", "x@bob", "https://h/@bob"]) {
    assert.equal(
      pieces(text, members)
        .map((p) => p.text)
        .join(""),
      text,
    );
  }
});

test("members are mentioned, and nobody else", () => {
  for (const [text, want] of [
    ["@bob", ["bob"]],
    ["hi @bob, @alice.", ["bob", "alice"]],
    ["@bob.b: look", ["bob.b"]],
    ["@bob.", ["bob"]],
    ["@a.b@c", ["a.b@c"]],
    ["@bobby", []],
    ["@carol", []],
    ["mail@bob", []],
    ["@bob and @bob", ["bob"]],
    ["https://h/@bob", []],
  ] as const) {
    assert.deepEqual(mentionsIn(text, members), want);
  }
});

test("what was searched for is marked as a whole word", () => {
  const hits = (text: string, q: string) =>
    marked(text, q)
      .map((p) => (p.hit ? `[${p.text}]` : p.text))
      .join("");
  assert.equal(hits("Lunch on Friday? lunch!", "lunch friday"), "[Lunch] on [Friday]? [lunch]!");
  assert.equal(hits("Lunches", "lunch"), "Lunches");
  assert.equal(hits("a (b) c", "(b)"), "a ([b]) c");
  assert.equal(hits("a.c abc", "a.c"), "[a].[c] abc");
  assert.equal(hits("text", "!!"), "text");
  const long = `${"word ".repeat(100)}needle ${"word ".repeat(100)}`;
  assert.match(snippet(long, "needle"), /^….*needle.*…$/);
  assert.equal(snippet("short", "x"), "short");
});

test("names have letters and a colour", () => {
  assert.equal(initials("alice"), "AL");
  assert.equal(initials("Release 1.0"), "R1");
  assert.equal(initials("...") + initials(""), "??");
  assert.equal(hue("alice"), hue("alice"));
  for (const name of ["", "a", "bob", "日本"]) assert.ok(hue(name) >= 0 && hue(name) < 12);
});

// Somebody may well write it to make the pages of others stand still.
test("an address with thousands of brackets behind it takes no time", () => {
  const tail = ")]".repeat(4000);
  const begin = performance.now();
  for (let n = 0; n < 20; n++) assert.equal(shown(`(https://example.com/a${tail}`), `(<https://example.com/a>${tail}`);
  assert.ok(performance.now() - begin < 2000, `${performance.now() - begin} ms`);
});
