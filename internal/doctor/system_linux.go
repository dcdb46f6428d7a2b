package doctor

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// owners answers who a file belongs to, and whether that is this user.
func owners(info fs.FileInfo) (owner int, mine bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, true
	}
	return int(st.Uid), int(st.Uid) == os.Geteuid()
}

// writable asks the system whether this user may write into a folder.
func writable(dir string) bool {
	const writeAndSearch = 2 | 1
	return syscall.Access(dir, writeAndSearch) == nil
}

// free is how many bytes and files there is room for where dir lies.
func free(dir string) (bytes, files uint64, known bool) {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil || st.Blocks == 0 { // some have no size, such as /proc
		return 0, 0, false
	}
	files = st.Ffree
	if st.Files == 0 { // the file system makes them as it needs them
		files = 1 << 62
	}
	return st.Bavail * uint64(st.Bsize), files, true
}

// openFiles is how many files this process may have open.
func openFiles() (n uint64, known bool) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return limit.Max, err == nil // Go raises the soft limit to the hard one
}

// backlog is how many connections may wait to be accepted.
func backlog() (n int, known bool) {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return n, err == nil
}
