//go:build !linux

package doctor

import "io/fs"

// What is not asked of other systems.

func owners(fs.FileInfo) (owner int, mine bool)     { return 0, true }
func writable(string) bool                          { return true }
func free(string) (bytes, files uint64, known bool) { return 0, 0, false }
func openFiles() (n uint64, known bool)             { return 0, false }
func backlog() (n int, known bool)                  { return 0, false }
