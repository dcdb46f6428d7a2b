// What the browser keeps for the page. It may refuse to: where cookies are
// turned off, naming the storage throws already.

export function kept(storage: () => Storage, key: string): string | null {
  try {
    return storage().getItem(key);
  } catch {
    return null;
  }
}

/** Keeps a text under a key; null takes it away. */
export function keep(storage: () => Storage, key: string, text: string | null): void {
  try {
    if (text === null) storage().removeItem(key);
    else storage().setItem(key, text);
  } catch {
    // it holds for as long as the page does
  }
}
