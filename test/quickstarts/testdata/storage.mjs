// AsyncStorage, in memory, and slow enough for two changes to meet.
const all = new Map();
const soon = () => new Promise((resolve) => setImmediate(resolve));

export default {
  getItem: async (key) => (await soon(), all.get(key) ?? null),
  setItem: async (key, value) => (await soon(), void all.set(key, value)),
};
