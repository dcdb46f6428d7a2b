package hostile_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// yield gives a child's process group the lowest priority: it takes the CPU
// that nobody else wants, as if it ran on another machine.
func yield(pid int) error { return syscall.Setpriority(syscall.PRIO_PGRP, pid, 19) }

// memory is what a process has in RAM, and the most it had since forgetPeak,
// in bytes.
func memory(t testing.TB, pid int) (now, peak int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		for name, into := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &peak} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				*into = n << 10
			}
		}
	}
	return now, peak
}

// forgetPeak begins a new measurement of the peak, see proc_pid_clear_refs(5).
func forgetPeak(t testing.TB, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// cpu is the CPU time that a process has used, in seconds, and that of the
// whole machine.
func cpu(t testing.TB, pid int) (process, machine float64) {
	t.Helper()
	const tick = 100 // USER_HZ, the same on every Linux that Go runs on
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	for _, f := range fields[11:13] { // utime, stime
		n, _ := strconv.ParseFloat(f, 64)
		process += n / tick
	}
	if text, err = os.ReadFile("/proc/stat"); err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line)[1:9] {
		if n, _ := strconv.ParseFloat(f, 64); i != 3 && i != 4 { // idle, iowait
			machine += n / tick
		}
	}
	return process, machine
}
