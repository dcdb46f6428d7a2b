// What tests take by chance follows from a seed, which they print. PARLEY_SDK_SEED
// takes the same chances again.

/** Numbers from 0 to 1 that follow from a seed. */
export function chances(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const seed = Number(process.env["PARLEY_SDK_SEED"] ?? Date.now() % 1_000_000_000);
