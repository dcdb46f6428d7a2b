import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { signOut, type Session } from "../session.ts";
import { ago, inFull } from "../time.ts";
import { attempt } from "../toast.ts";
import { Icon } from "../ui/icons.tsx";
import { Avatar } from "../ui/parts.tsx";
import { Logo } from "../ui/signin.tsx";
import { ThemeButton } from "../ui/theme.tsx";
import { Chart } from "./chart.tsx";
import { lagOf, listed, type Connection, type Live } from "./live.ts";

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const small = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

export const count = (n: number) => (n !== 0 && Math.abs(n) < 10 ? small : whole).format(n);
const perSecond = (n: number) => `${count(n)}/s`;

export function seconds(s: number): string {
  if (s === 0) return "0";
  if (s < 0.001) return `${small.format(s * 1e6)} µs`;
  return s < 1 ? `${small.format(s * 1e3)} ms` : `${small.format(s)} s`;
}

const bytes = (n: number) => `${small.format(n / 2 ** 20)} MiB`;
const or = <T,>(v: T | undefined, f: (v: T) => string) => (v === undefined ? "–" : f(v));

export function AdminPage({ live, who }: { live: Live; who: Session }): JSX.Element {
  useEffect(() => {
    document.title = "Parley · Administration";
  }, []);
  const points = live.points.value;
  const now = points.at(-1);
  const times = points.map((p) => p.at);
  // Without a commit in the last two seconds the last one that there was still says most.
  const commit = points.findLast((p) => p.commit[0] !== undefined)?.commit ?? [];
  return (
    <div class="admin">
      <header class="admin-head">
        <Logo />
        <h1>Parley</h1>
        <span class="soft">Administration</span>
        <span class={`pulse ${live.problem.value ? "off" : ""}`} role="status">
          {live.problem.value || "live"}
        </span>
        <span class="spring" />
        <a href="/">Chat</a>
        <a href="/docs">REST</a>
        <a href="/metrics">Metrics</a>
        <ThemeButton />
        <button type="button" onClick={signOut} data-testid="sign-out">
          Sign out{who.kind === "name" ? ` ${who.name}` : ""}
        </button>
      </header>
      <main>
        <section class="tiles" aria-label="Now">
          <Tile name="Connections" value={or(now?.connections, count)} id="connections" />
          <Tile name="Published" value={or(now?.committed, perSecond)} id="committed" />
          <Tile name="Delivered" value={or(now?.delivered, perSecond)} id="delivered" />
          <Tile name="Commit, median" value={or(commit[0], seconds)} id="commit-p50" />
          <Tile name="Commit, 99 %" value={or(commit[2], seconds)} id="commit-p99" />
          <Tile name="Largest lag" value={or(now?.lag, count)} id="lag" bad={(now?.lag ?? 0) > 1000} />
          <Tile name="Memory" value={or(now?.memory, bytes)} id="memory" />
        </section>
        <section class="charts" aria-label="The last five minutes">
          <Chart
            title="Messages"
            times={times}
            format={perSecond}
            least={10}
            series={[
              { name: "published", values: points.map((p) => p.committed) },
              { name: "delivered", values: points.map((p) => p.delivered) },
            ]}
          />
          <Chart
            title="Commit latency"
            times={times}
            format={seconds}
            least={0.001}
            series={["median", "95 %", "99 %"].map((name, i) => ({ name, values: points.map((p) => p.commit[i]) }))}
          />
          <Chart
            title="Lag and in flight"
            times={times}
            format={count}
            least={10}
            series={[
              { name: "largest lag, entries", values: points.map((p) => p.lag) },
              { name: "in flight", values: points.map((p) => p.inflight) },
            ]}
          />
          <Chart title="Connections" times={times} format={count} least={10} series={[{ name: "open", values: points.map((p) => p.connections) }]} />
        </section>
        <Connections live={live} />
      </main>
    </div>
  );
}

function Tile({ name, value, id, bad = false }: { name: string; value: string; id: string; bad?: boolean }): JSX.Element {
  return (
    <div class={`tile ${bad ? "bad" : ""}`} data-testid={`tile-${id}`}>
      <span class="soft">{name}</span>
      <b>{value}</b>
    </div>
  );
}

function Connections({ live }: { live: Live }): JSX.Element {
  const filter = useSignal("");
  const words = filter.value.trim().toLowerCase();
  const list = live.connections.value.filter((c) =>
    [c.userId, c.clientId, c.address ?? ""].some((text) => text.toLowerCase().includes(words)),
  );
  return (
    <section class="connections">
      <div class="connections-head">
        <h2>
          Connections <span class="soft">{list.length}</span>
        </h2>
        <label class="filter">
          <Icon name="search" />
          <input
            type="search"
            aria-label="Filter by user, client or address"
            placeholder="User, client or address"
            value={filter.value}
            data-testid="filter"
            onInput={(e) => (filter.value = e.currentTarget.value)}
          />
        </label>
      </div>
      {live.more.value && <p class="soft">The first {listed} are shown, by user.</p>}
      <div class="table-frame" tabIndex={0} role="region" aria-label="Table of connections">
        <table data-testid="connections">
          <thead>
            <tr>
              <th scope="col">User</th>
              <th scope="col">Client</th>
              <th scope="col">Address</th>
              <th scope="col">Protocol</th>
              <th scope="col">Since</th>
              <th scope="col" class="number">
                Subscriptions
              </th>
              <th scope="col" class="number">
                In flight
              </th>
              <th scope="col" class="number">
                Waiting
              </th>
              <th scope="col" class="number">
                Lag
              </th>
              <th scope="col">
                <span class="visually-hidden">What to do</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {list.map((c) => (
              <Row key={`${c.userId}\n${c.clientId}`} c={c} live={live} />
            ))}
            {list.length === 0 && (
              <tr>
                <td colSpan={10} class="soft">
                  {live.connections.value.length ? "None of them fits." : "Nobody is connected."}
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Row({ c, live }: { c: Connection; live: Live }): JSX.Element {
  const sure = useSignal(false);
  const lag = lagOf(c);
  return (
    <tr data-testid="connection" data-user={c.userId} data-client={c.clientId}>
      <th scope="row">
        <span class="user">
          <Avatar name={c.userId} size="small" /> {c.userId}
        </span>
      </th>
      <td class="id">{c.clientId}</td>
      <td>{c.address ?? "–"}</td>
      <td>
        MQTT {c.protocol} <span class="tag">{c.transport}</span>
      </td>
      <td title={inFull(c.connectedAt)}>{ago(c.connectedAt)}</td>
      <td class="number">{count(c.subscriptions.count)}</td>
      <td class="number">{count(c.inflight.entries + c.inflight.deliveries)}</td>
      <td class="number">{count(c.waiting.deliveries)}</td>
      <td class={`number ${lag > 1000 ? "much" : ""}`}>{count(lag)}</td>
      <td class="number">
        {sure.value ? (
          <button
            type="button"
            class="danger"
            data-testid="disconnect-confirm"
            onBlur={() => (sure.value = false)}
            ref={(b) => b?.focus()}
            onClick={() => {
              sure.value = false;
              void attempt(`${c.userId} could not be disconnected`, () => live.disconnect(c));
            }}
          >
            Really?
          </button>
        ) : (
          <button type="button" data-testid="disconnect" aria-label={`Disconnect ${c.userId}, ${c.clientId}`} onClick={() => (sure.value = true)}>
            Disconnect
          </button>
        )}
      </td>
    </tr>
  );
}
