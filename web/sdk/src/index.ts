import { ParleyClient } from "./client.js";
import type { Client, Options } from "./types.js";

export { ParleyError } from "./errors.js";
export { indexedDBOutbox, memoryOutbox } from "./outbox.js";
export type * from "./types.js";

/**
 * Makes a client, which connects by itself and stays connected until close().
 * Throws a ParleyError with the code "invalid" when an option cannot be.
 */
export function connect(options: Options): Client {
  return new ParleyClient(options);
}
