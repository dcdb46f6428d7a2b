import assert from "node:assert/strict";
import { asyncStorageOutbox } from "./outbox";

const message = (clientId) => ({ clientId, conversationId: "c1", content: clientId, queuedAt: "2026-01-01T00:00:00.000Z" });
const ids = async (store) => (await store.load()).map((p) => p.clientId);

const bob = asyncStorageOutbox("bob");
await Promise.all(["a", "b", "c", "b"].map((id) => bob.put(message(id))));
assert.deepEqual(await ids(bob), ["a", "b", "c"]);
await Promise.all([bob.remove("b"), bob.put(message("d")), bob.remove("gone")]);
assert.deepEqual(await ids(bob), ["a", "c", "d"]);
assert.deepEqual(await ids(asyncStorageOutbox("bob")), ["a", "c", "d"]); // the next start of the app
assert.deepEqual(await ids(asyncStorageOutbox("alice")), []);
assert.deepEqual((await bob.load())[0], message("a"));
