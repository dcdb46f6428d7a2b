// Numbers out of /metrics, in the text format of Prometheus.

export interface Sample {
  labels: Record<string, string>;
  value: number;
}

export type Metrics = Map<string, Sample[]>;

const line = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const label = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

export function parseMetrics(text: string): Metrics {
  const all: Metrics = new Map();
  for (const l of text.split("\n")) {
    if (l.startsWith("#")) continue;
    const m = line.exec(l);
    if (!m) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (m[2] ?? "").matchAll(label)) labels[name!] = value!.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    const value = m[3] === "+Inf" ? Infinity : Number(m[3]);
    const list = all.get(m[1]!);
    if (list) list.push({ labels, value });
    else all.set(m[1]!, [{ labels, value }]);
  }
  return all;
}

/** The sum over all labels; undefined where there is no such metric. */
export function total(m: Metrics, name: string): number | undefined {
  return m.get(name)?.reduce((n, s) => n + s.value, 0);
}

/** How much a counter grew a second. A server that has started anew counts from 0. */
export function rate(before: Metrics | undefined, now: Metrics, name: string, seconds: number): number | undefined {
  const [a, b] = [before && total(before, name), total(now, name)];
  if (a === undefined || b === undefined || seconds <= 0) return undefined;
  return (b >= a ? b - a : b) / seconds;
}

/** Quantiles of what a histogram got between two readings; undefined where it got nothing. */
export function quantiles(before: Metrics | undefined, now: Metrics, name: string, qs: number[]): (number | undefined)[] {
  const buckets = (m: Metrics | undefined) =>
    new Map((m?.get(`${name}_bucket`) ?? []).map((s) => [s.labels.le === "+Inf" ? Infinity : Number(s.labels.le), s.value]));
  const was = before ? buckets(before) : new Map<number, number>();
  const is = [...buckets(now)].sort(([a], [b]) => a - b);
  const anew = is.some(([le, n]) => n < (was.get(le) ?? 0));
  const grown = is.map(([le, n]) => [le, n - (anew ? 0 : (was.get(le) ?? 0))] as const);
  const count = grown.at(-1)?.[1] ?? 0;
  return qs.map((q) => (count > 0 && before ? within(grown, q * count) : undefined));
}

/** Where the nth value lies, as if the values of a bucket were spread evenly. */
function within(buckets: readonly (readonly [number, number])[], nth: number): number {
  let [low, below] = [0, 0];
  for (const [le, n] of buckets) {
    if (n >= nth && n > below) return le === Infinity ? low : low + ((le - low) * (nth - below)) / (n - below);
    [low, below] = [le, n];
  }
  return low;
}
