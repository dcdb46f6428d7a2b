//go:build !linux

package bench

import (
	"context"
	"errors"
	"syscall"
	"time"
)

const readBuffer = 256 << 10

var errLinux = errors.New("the load generator needs Linux: it is built on epoll and /proc")

func drive(context.Context, driven, *ports) error { return errLinux }

func detach(interface {
	Control(func(fd uintptr)) error
}) (int, error) {
	return -1, errLinux
}

func closeSocket(int) {}

func ownCPU() time.Duration { return 0 }

func childAttr() *syscall.SysProcAttr { return nil }

func inMemory(string) bool { return false }
