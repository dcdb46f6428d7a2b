//go:build race

package wire

// poolMisses bounds the allocations of a loop that uses pools: under the race
// detector sync.Pool forgets things on purpose.
const poolMisses = 12
