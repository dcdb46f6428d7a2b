import assert from "node:assert/strict";
import { test } from "node:test";
import { nice } from "../src/admin/chart.tsx";
import { parseMetrics, quantiles, rate, total } from "../src/admin/metrics.ts";

const histogram = (counts: number[]) =>
  parseMetrics(["0.01", "0.1", "1", "+Inf"].map((le, i) => `x_bucket{le="${le}"} ${counts[i]}`).join("\n"));

test("the text of Prometheus is read", () => {
  const m = parseMetrics(
    ["# HELP a Of a.", "# TYPE a counter", "a 1.5e+06", 'b{x="1",y="a\\"b\\\\,}"} 2', 'b{x="2"} 3 1700000000000', "c +Inf", "", "not a line"].join("\n"),
  );
  assert.equal(total(m, "a"), 1.5e6);
  assert.equal(total(m, "b"), 5);
  assert.deepEqual(m.get("b")![0]!.labels, { x: "1", y: 'a"b\\,}' });
  assert.equal(total(m, "c"), Infinity);
  assert.equal(total(m, "d"), undefined);
});

test("rates are of what grew, from 0 where the server is a new one", () => {
  const [a, b] = [parseMetrics("n 10"), parseMetrics("n 30")];
  assert.equal(rate(a, b, "n", 2), 10);
  assert.equal(rate(b, a, "n", 2), 5);
  assert.equal(rate(undefined, a, "n", 2), undefined);
  assert.equal(rate(a, b, "other", 2), undefined);
});

test("quantiles are of what came between two readings", () => {
  const before = histogram([100, 100, 100, 100]);
  const now = histogram([100, 190, 200, 200]); // 90 in 0.01 to 0.1, 10 up to 1
  const [median, p95, p99] = quantiles(before, now, "x", [0.5, 0.95, 0.99]) as number[];
  assert.ok(Math.abs(median! - 0.06) < 1e-9, `${median}`);
  assert.ok(Math.abs(p95! - 0.55) < 1e-9, `${p95}`);
  assert.ok(p99! > 0.9 && p99! < 1, `${p99}`);
  assert.deepEqual(quantiles(now, now, "x", [0.5]), [undefined]);
  assert.deepEqual(quantiles(undefined, now, "x", [0.5]), [undefined]);
  assert.deepEqual(quantiles(before, histogram([100, 100, 100, 110]), "x", [0.5]), [1]);
  assert.ok(quantiles(now, histogram([5, 5, 5, 5]), "x", [0.5])[0]! <= 0.01);
});

test("scales end at round numbers", () => {
  assert.deepEqual([0.7, 1, 11, 26, 99, 130, 0.0012].map(nice), [1, 1, 20, 50, 100, 200, 0.002]);
});
