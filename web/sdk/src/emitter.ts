type Handler<E> = (e: E) => void;

/** Calls handlers in the order in which they came, one event at a time. */
export class Emitter<M> {
  readonly #handlers = new Map<keyof M, Set<Handler<never>>>();

  on<K extends keyof M>(event: K, f: Handler<M[K]>): () => void {
    const own: Handler<M[K]> = (e) => f(e); // the same f twice is two
    let set = this.#handlers.get(event);
    if (!set) this.#handlers.set(event, (set = new Set()));
    set.add(own as Handler<never>);
    return () => void set.delete(own as Handler<never>);
  }

  emit<K extends keyof M>(event: K, e: M[K]): void {
    const set = this.#handlers.get(event);
    for (const f of [...(set ?? [])] as Handler<M[K]>[]) {
      if (!set!.has(f as Handler<never>)) continue; // stopped by one before
      try {
        f(e);
      } catch (err) {
        // A handler that throws is the app's defect: shown as any uncaught
        // error is, while the other handlers and the stream go on.
        setTimeout(() => {
          throw err;
        });
      }
    }
  }
}
