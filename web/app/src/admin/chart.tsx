// A small line chart in SVG: several series over the same times, with what
// stands under the pointer in the legend.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

export interface Series {
  name: string;
  values: readonly (number | undefined)[];
}

interface Props {
  title: string;
  series: Series[];
  /** Milliseconds since 1970, as many as there are values. */
  times: readonly number[];
  format: (n: number) => string;
  /** The scale goes up to this at least. */
  least: number;
}

const width = 560;
const height = 150;
const left = 52;
const bottom = 18;
const top = 8;

export function Chart({ title, series, times, format, least }: Props): JSX.Element {
  const at = useSignal<number | undefined>(undefined);
  const span = 5 * 60_000;
  const end = times.at(-1) ?? 0;
  const x = (t: number) => left + (width - left - 6) * (1 - (end - t) / span);
  const high = nice(Math.max(least, ...series.flatMap((s) => s.values.map((v) => v ?? 0))));
  const y = (v: number) => top + (height - top - bottom) * (1 - v / high);
  const shown = at.value !== undefined && at.value < times.length ? at.value : times.length - 1;

  return (
    <figure class="chart">
      <figcaption>
        <h2>{title}</h2>
        <ul class="legend">
          {series.map((s, i) => (
            <li key={s.name}>
              <span class={`swatch line-${i}`} />
              {s.name} <b>{s.values[shown] === undefined ? "–" : format(s.values[shown]!)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        role="img"
        aria-label={`${title}: ${series.map((s) => `${s.name} ${s.values.at(-1) === undefined ? "none" : format(s.values.at(-1)!)}`).join(", ")}`}
        onPointerMove={(e) => {
          const box = e.currentTarget.getBoundingClientRect();
          const t = end - span * (1 - ((e.clientX - box.left) / box.width * width - left) / (width - left - 6));
          let best = 0;
          times.forEach((v, i) => Math.abs(v - t) < Math.abs(times[best]! - t) && (best = i));
          at.value = best;
        }}
        onPointerLeave={() => (at.value = undefined)}
      >
        {[0, 0.5, 1].map((part) => (
          <g key={part}>
            <line class="grid" x1={left} x2={width - 6} y1={y(high * part)} y2={y(high * part)} />
            <text class="axis" x={left - 8} y={y(high * part) + 4} text-anchor="end">
              {format(high * part)}
            </text>
          </g>
        ))}
        {[5, 4, 3, 2, 1, 0].map((m) => (
          <text key={m} class="axis" x={x(end - m * 60_000)} y={height - 3} text-anchor={m === 0 ? "end" : m === 5 ? "start" : "middle"}>
            {m ? `−${m} min` : "now"}
          </text>
        ))}
        {series.map((s, i) => (
          <path key={s.name} class={`plot line-${i}`} d={path(s.values, times, x, y)} />
        ))}
        {at.value !== undefined && times[shown] !== undefined && <line class="cursor" x1={x(times[shown]!)} x2={x(times[shown]!)} y1={top} y2={height - bottom} />}
      </svg>
    </figure>
  );
}

/** The line through the values; it breaks where there is none. */
function path(values: readonly (number | undefined)[], times: readonly number[], x: (t: number) => number, y: (v: number) => number): string {
  let d = "";
  let pen = false;
  values.forEach((v, i) => {
    if (v === undefined) {
      pen = false;
      return;
    }
    const [px, py] = [x(times[i]!).toFixed(1), y(v).toFixed(1)];
    // A value alone shows as a dot.
    d += pen ? `L${px} ${py}` : `M${px} ${py}h0.1`;
    pen = true;
  });
  return d;
}

/** The next number that makes a good end of a scale. */
export function nice(n: number): number {
  const ten = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 2.5, 5, 10].map((f) => f * ten).find((f) => f >= n) ?? n;
}
