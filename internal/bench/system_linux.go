package bench

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three calls of the loop go past the Go scheduler. Telling it of each
// blocking call, and waking its monitor after each, took a third of the
// generator's CPU in an open loop. The sockets do not block; epoll does, for
// 100 ms at most, and the runtime's signals interrupt it when it wants the
// thread.

func epollWait(epoll int, events []unix.EpollEvent, ms int) (int, syscall.Errno) {
	return call(unix.SYS_EPOLL_PWAIT, epoll, unsafe.Pointer(&events[0]), len(events), ms)
}

func read(fd int, b []byte) (int, syscall.Errno) {
	return call(unix.SYS_READ, fd, unsafe.Pointer(&b[0]), len(b), 0)
}

func write(fd int, b []byte) (int, syscall.Errno) {
	return call(unix.SYS_WRITE, fd, unsafe.Pointer(&b[0]), len(b), 0)
}

func call(number uintptr, fd int, p unsafe.Pointer, n, ms int) (int, syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(number, uintptr(fd), uintptr(p), uintptr(n), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil { // cannot fail
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// childAttr keeps Ctrl-C from a child, which is for this process, and ends it
// when this process dies.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// inMemory tells whether a folder is on a file system without a disk.
func inMemory(dir string) bool {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return false
	}
	kind := uint32(s.Type)
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}
