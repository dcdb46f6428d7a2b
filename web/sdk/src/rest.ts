import { ParleyError } from "./errors.js";
import { pause, within } from "./timers.js";
import type { Tokens } from "./tokens.js";

type Query = Record<string, string | number | boolean | undefined>;

export interface Request {
  query?: Query;
  body?: unknown;
}

const tries = 3;
const longestWait = 30_000;

/** Asks the server over REST. */
export class Rest {
  constructor(
    private readonly base: string,
    private readonly tokens: Tokens,
    private readonly timeout: number,
    private readonly closing: AbortSignal,
  ) {}

  get<T>(path: string, query?: Query): Promise<T> {
    return this.request<T>("GET", path, query ? { query } : {});
  }

  /**
   * Asks, with the token at hand. One that is refused is renewed once. What
   * does no harm when asked twice is asked again, a few times, where the
   * server says that it is busy.
   */
  async request<T>(method: string, path: string, r: Request = {}): Promise<T> {
    let renewed = false;
    for (let n = 1; ; n++) {
      if (this.closing.aborted) throw closed(); // token() is not called any more
      const token = await this.#unlessClosed(this.tokens.current());
      try {
        return (await this.#once(method, path, token.text, r)) as T;
      } catch (err) {
        if (!(err instanceof ParleyError)) throw err;
        if (err.status === 401) {
          this.tokens.refuse(token);
          if (renewed) throw err;
          renewed = true;
          if (this.tokens.refused(await this.#unlessClosed(this.tokens.fresh()))) throw err;
          continue;
        }
        const again = err.retryAfter !== undefined && err.retryAfter <= longestWait && method !== "POST" && method !== "PATCH";
        if (!again || n >= tries) throw err;
        await pause(err.retryAfter!, this.closing);
      }
    }
  }

  /** What token() gives, which may take for ever. */
  #unlessClosed<T>(p: Promise<T>): Promise<T> {
    return within(p, closed, this.closing);
  }

  async #once(method: string, path: string, token: string, { query, body }: Request): Promise<unknown> {
    const url = new URL(this.base + path);
    for (const [key, value] of Object.entries(query ?? {})) if (value !== undefined) url.searchParams.set(key, String(value));
    const stop = new AbortController();
    const end = () => stop.abort();
    let late = false;
    const timer = setTimeout(() => ((late = true), end()), this.timeout);
    if (this.closing.aborted) end();
    this.closing.addEventListener("abort", end);
    try {
      const headers: Record<string, string> = { Authorization: `Bearer ${token}` };
      if (body !== undefined) headers["Content-Type"] = "application/json";
      const answer = await fetch(url, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        signal: stop.signal,
      });
      const text = await answer.text();
      if (!answer.ok) throw refusal(answer, text);
      return text === "" ? undefined : JSON.parse(text);
    } catch (err) {
      if (err instanceof ParleyError) throw err;
      if (this.closing.aborted) throw closed();
      if (late) throw new ParleyError("timeout", `${method} ${path}: no answer within ${this.timeout} ms`);
      throw new ParleyError("network", `${method} ${path}: ${err instanceof Error ? err.message : err}`);
    } finally {
      clearTimeout(timer);
      this.closing.removeEventListener("abort", end);
    }
  }
}

const closed = () => new ParleyError("closed", "the client is closed");

/** The error of an answer: a problem document, or what a proxy says. */
function refusal(answer: Response, text: string): ParleyError {
  let p: { code?: string; detail?: string; field?: string } = {};
  try {
    p = JSON.parse(text) ?? {};
  } catch {
    // not one of ours
  }
  const { status } = answer;
  const code = p.code ?? (status === 401 ? "unauthorized" : status === 429 ? "rate_limited" : status >= 500 ? "unavailable" : "network");
  const more: ConstructorParameters<typeof ParleyError>[2] = { status };
  if (p.field) more.field = p.field;
  if (status === 429 || status === 503) {
    const seconds = Number(answer.headers.get("Retry-After") ?? "1");
    more.retryAfter = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : 1000;
  }
  return new ParleyError(code, p.detail ?? `HTTP ${status}`, more);
}
