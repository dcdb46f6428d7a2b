// What the operators' page reads from the server, every two seconds while
// somebody can see it.
import { signal } from "@preact/signals";
import { session, signOut, tokenFor, type Session } from "../session.ts";
import { parseMetrics, quantiles, rate, total, type Metrics } from "./metrics.ts";

export interface Connection {
  userId: string;
  clientId: string;
  address?: string;
  transport: string;
  protocol: string;
  connectedAt: string;
  inflight: { entries: number; deliveries: number };
  waiting: { deliveries: number; bytes: number };
  subscriptions: { count: number };
  streams: { count: number; items: { lag: number }[] };
}

export interface Point {
  at: number;
  connections: number | undefined;
  committed: number | undefined;
  delivered: number | undefined;
  commit: (number | undefined)[]; // p50, p95, p99 in seconds
  lag: number;
  inflight: number;
  memory: number | undefined;
}

const every = 2000;
const kept = 151; // five minutes
export const listed = 200;

export class Live {
  readonly points = signal<readonly Point[]>([]);
  readonly connections = signal<readonly Connection[]>([]);
  readonly more = signal(false);
  readonly problem = signal("");
  readonly refused = signal("");

  #before: Metrics | undefined;
  #beforeAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #token: Promise<string> | undefined;
  #closed = false;
  #again = () => {
    if (document.visibilityState === "visible") this.#soon(0);
    else clearTimeout(this.#timer);
  };

  constructor(private readonly who: Session) {
    document.addEventListener("visibilitychange", this.#again);
    this.#soon(0);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#again);
  }

  #soon(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#closed && document.visibilityState === "visible") this.#timer = setTimeout(() => void this.#look(), ms);
  }

  async #look(): Promise<void> {
    const begun = Date.now();
    try {
      const [metrics, list] = await Promise.all([
        fetch("/metrics").then((r) => (r.ok ? r.text() : Promise.reject(new Error(`/metrics answers ${r.status}`)))),
        this.#ask("GET", `/v1/admin/connections?limit=${listed}`).then((r) => r.json() as Promise<{ items: Connection[]; nextCursor?: string }>),
      ]);
      if (this.#closed) return;
      this.#take(parseMetrics(metrics), list.items);
      this.connections.value = list.items;
      this.more.value = !!list.nextCursor;
      this.problem.value = "";
    } catch (err) {
      if (this.#closed) return;
      this.#before = undefined;
      this.problem.value = err instanceof TypeError ? "The server cannot be reached." : (err as Error).message;
    }
    this.#soon(Math.max(200, every - (Date.now() - begun)));
  }

  #take(now: Metrics, list: Connection[]): void {
    const at = Date.now();
    const seconds = (at - this.#beforeAt) / 1000;
    const before = this.#before;
    const point: Point = {
      at,
      connections: total(now, "parley_mqtt_connections"),
      committed: both(before, now, "parley_commit_drafts_sum", "parley_topic_messages_total", seconds),
      delivered: both(before, now, "parley_deliveries_total", "parley_topic_deliveries_total", seconds),
      commit: quantiles(before, now, "parley_commit_seconds", [0.5, 0.95, 0.99]),
      lag: Math.max(0, ...list.map(lagOf)),
      inflight: list.reduce((n, c) => n + c.inflight.entries + c.inflight.deliveries, 0),
      memory: total(now, "process_resident_memory_bytes"),
    };
    this.#before = now;
    this.#beforeAt = at;
    this.points.value = [...this.points.value, point].slice(-kept);
  }

  /** Asks with the token at hand, and once more with a new one. */
  async #ask(method: string, path: string): Promise<Response> {
    for (let fresh = false; ; fresh = true) {
      if (fresh) this.#token = undefined;
      this.#token ??= tokenFor(this.who).catch((err) => {
        this.#token = undefined;
        throw err;
      });
      const r = await fetch(path, { method, headers: { Authorization: `Bearer ${await this.#token}` } });
      if (r.ok) return r;
      if (r.status === 401 && !fresh && this.who.kind === "name") continue;
      const detail = ((await r.json().catch(() => ({}))) as { detail?: string }).detail ?? `The server answered ${r.status}.`;
      if (r.status === 401 || r.status === 403) {
        this.refused.value = detail;
        if (session.value === this.who) signOut();
      }
      throw new Error(detail);
    }
  }

  async disconnect(c: Connection): Promise<void> {
    await this.#ask("DELETE", `/v1/admin/connection?user=${encodeURIComponent(c.userId)}&client=${encodeURIComponent(c.clientId)}`);
    this.#soon(0);
  }
}

/** The rate of conversations and ordinary topics together. */
function both(before: Metrics | undefined, now: Metrics, chat: string, topics: string, seconds: number): number | undefined {
  const n = rate(before, now, chat, seconds);
  return n === undefined ? undefined : n + (rate(before, now, topics, seconds) ?? 0);
}

/** How far a connection is behind: the most of its streams. */
export function lagOf(c: Connection): number {
  return Math.max(0, ...c.streams.items.map((s) => s.lag));
}
