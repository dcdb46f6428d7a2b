import type { OutboxStore, Pending } from "./types.js";

/** An outbox that lives as long as the page or the process. */
export function memoryOutbox(): OutboxStore {
  const all = new Map<string, Pending>();
  return {
    load: async () => [...all.values()],
    put: async (p) => {
      if (!all.has(p.clientId)) all.set(p.clientId, p);
    },
    remove: async (clientId) => void all.delete(clientId),
  };
}

const store = "pending";

/** An outbox in IndexedDB, which tabs of one origin share by its name. It outlives the page. */
export function indexedDBOutbox(name: string): OutboxStore {
  let db: Promise<IDBDatabase> | undefined;

  const open = () =>
    new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => {
        // The key grows with each: that is the order in which they came.
        request.result.createObjectStore(store, { autoIncrement: true }).createIndex("clientId", "clientId", { unique: true });
      };
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const opened = request.result;
        const forget = () => {
          opened.close();
          db = undefined;
        };
        opened.onversionchange = forget; // somebody deletes it
        opened.onclose = forget;
        resolve(opened);
      };
    });

  // step is one transaction; it has ended well when the promise resolves.
  const step = async <T>(mode: IDBTransactionMode, f: (s: IDBObjectStore) => IDBRequest<T> | void): Promise<T | undefined> => {
    db ??= open();
    db.catch(() => (db = undefined));
    const tx = (await db).transaction(store, mode);
    return new Promise((resolve, reject) => {
      const request = f(tx.objectStore(store));
      tx.oncomplete = () => resolve(request ? request.result : undefined);
      tx.onabort = tx.onerror = () => reject(tx.error);
    });
  };

  return {
    load: async () => (await step("readonly", (s) => s.getAll() as IDBRequest<Pending[]>)) ?? [],
    put: async (p) => {
      await step("readwrite", (s) => {
        const found = s.index("clientId").getKey(p.clientId);
        found.onsuccess = () => found.result === undefined && s.add(p);
      });
    },
    remove: async (clientId) => {
      await step("readwrite", (s) => {
        const found = s.index("clientId").getKey(clientId);
        found.onsuccess = () => found.result !== undefined && s.delete(found.result);
      });
    },
  };
}
