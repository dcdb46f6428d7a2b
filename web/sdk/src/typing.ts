import type { Entry, Typing } from "./types.js";

/** Others hear again of who goes on typing after so long. */
const again = 3000;
/** The server takes back what is 6 s old; if that is lost, we do. */
const stale = 9000;

/** Who types, in both directions. */
export class TypingState {
  readonly #said = new Map<string, number>();
  readonly #others = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(private readonly emit: (e: Typing) => void) {}

  /** Reports whether this is to be said now. */
  says(conversationId: string, typing: boolean): boolean {
    const at = this.#said.get(conversationId);
    if (!typing) return this.#said.delete(conversationId);
    if (at !== undefined && Date.now() - at < again) return false;
    this.#said.set(conversationId, Date.now());
    return true;
  }

  /** A message was sent, which ends it. */
  sent(conversationId: string): void {
    this.#said.delete(conversationId);
  }

  heard({ conversationId, userId, typing }: Typing): void {
    const key = `${conversationId}/${userId}`;
    const known = this.#others.get(key);
    clearTimeout(known);
    this.#others.delete(key);
    if (typing) {
      this.#others.set(key, setTimeout(() => this.heard({ conversationId, userId, typing: false }), stale));
    }
    this.emit({ conversationId, userId, typing });
  }

  /** Who has sent a message, or left, types no more. */
  stopped(conversationId: string, userId: string, type: Entry["type"]): void {
    if ((type === "message" || type === "leave") && this.#others.has(`${conversationId}/${userId}`)) {
      this.heard({ conversationId, userId, typing: false });
    }
  }

  close(): void {
    for (const timer of this.#others.values()) clearTimeout(timer);
    this.#others.clear();
  }
}
