//go:build !race

package wire

const poolMisses = 0
