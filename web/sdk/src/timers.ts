/** A promise that is settled from outside. */
export interface Deferred<T> {
  promise: Promise<T>;
  resolve(value: T): void;
  reject(err: unknown): void;
}

export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (err: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** A name that nobody else has. Pages without TLS have no crypto.randomUUID. */
export function uid(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** The promise, or a refusal when it is not settled within ms or the signal is aborted before. */
export function within<T>(p: Promise<T>, what: () => unknown, signal?: AbortSignal, ms?: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const over = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", refuse);
    };
    const refuse = () => {
      over();
      reject(what());
    };
    const timer = ms === undefined ? undefined : setTimeout(refuse, ms);
    signal?.addEventListener("abort", refuse);
    if (signal?.aborted) refuse();
    p.finally(over).then(resolve, reject);
  });
}

/** Resolves after ms, or as soon as the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}

/**
 * How long to wait before try n (0, 1, 2, …): doubles from min up to max, and
 * is taken by chance from the upper half, so that clients that lost their
 * server together do not come back together.
 */
export function backoff(n: number, { min, max }: { min: number; max: number }): number {
  const whole = Math.min(max, min * 2 ** Math.min(n, 30));
  return whole * (0.5 + Math.random() / 2);
}
