import assert from "node:assert/strict";
import { test } from "node:test";
import { hashOf, parse } from "../src/hash.ts";

test("an address and the place it names", () => {
  for (const [hash, want] of [
    ["", {}],
    ["#/", {}],
    ["#/c/c1", { conversation: "c1" }],
    ["#/c/a.b@c:d-e_f", { conversation: "a.b@c:d-e_f" }],
    ["#/c/a%40b", { conversation: "a@b" }],
    ["#/c/c1/42", { conversation: "c1", seq: 42 }],
    ["#/c/c1/x", {}],
    ["#/c/%zz", {}],
    ["#/c/<b>", {}],
  ] as const) {
    assert.deepEqual(parse(hash), want, hash);
  }
  assert.equal(hashOf(), "#/");
  for (const id of ["c1", "a.b@c:d", "0192-x"]) assert.deepEqual(parse(hashOf(id, 7)), { conversation: id, seq: 7 });
});
