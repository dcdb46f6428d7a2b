package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Process is a process whose cost is measured, with all its descendants.
type Process struct {
	Name string
	PID  int
}

// usage is what a process and its descendants have used so far.
type usage struct {
	cpu time.Duration
	rss int64 // bytes
}

// tickRate is in how many ticks a second the kernel tells CPU time. It is 100
// on every system that Go runs on.
const tickRate = 100

// procStat is a line of /proc/<pid>/stat.
type procStat struct {
	pid, parent int
	cpu         time.Duration // with that of children that have ended and were waited for
	rss         int64
}

// measure reads what processes have used. It is an error if one is gone: what
// it used cannot be known then.
func measure(processes []Process) ([]usage, error) {
	if len(processes) == 0 {
		return nil, nil
	}
	all, err := readProcesses()
	if err != nil {
		return nil, err
	}
	return sum(all, processes)
}

func sum(all []*procStat, processes []Process) ([]usage, error) {
	children := make(map[int][]*procStat)
	byPID := make(map[int]*procStat, len(all))
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
		byPID[p.pid] = p
	}
	result := make([]usage, len(processes))
	for i, p := range processes {
		root := byPID[p.PID]
		if root == nil {
			return nil, fmt.Errorf("process %d (%s) is gone", p.PID, p.Name)
		}
		// The time of a child that ends goes to its parent, so that the sum
		// over the tree never falls.
		for tree := []*procStat{root}; len(tree) > 0; {
			next := tree[len(tree)-1]
			tree = append(tree[:len(tree)-1], children[next.pid]...)
			result[i].cpu += next.cpu
			result[i].rss += next.rss
		}
	}
	return result, nil
}

func readProcesses() ([]*procStat, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("there is no /proc to read CPU times from")
	}
	all := make([]*procStat, 0, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || len(text) == 0 {
			continue // it has ended
		}
		p, ok := parseStat(text)
		if !ok {
			continue // it is ending
		}
		all = append(all, p)
	}
	return all, nil
}

// parseStat reads a line of /proc/<pid>/stat: pid, name in brackets, state,
// parent, and so on, as proc(5) numbers them.
func parseStat(text []byte) (*procStat, bool) {
	end := bytes.LastIndexByte(text, ')') // a name may hold anything
	begin := bytes.IndexByte(text, ' ')
	if begin < 0 || end < begin {
		return nil, false
	}
	const third = 3 // the number of the first field behind the name
	fields := bytes.Fields(text[end+1:])
	number := func(i int) int64 {
		if i-third >= len(fields) {
			return -1
		}
		n, err := strconv.ParseInt(string(fields[i-third]), 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	pid, err := strconv.Atoi(string(text[:begin]))
	parent, rss := number(4), number(24)
	if err != nil || parent < 0 || rss < 0 {
		return nil, false
	}
	ticks := int64(0)
	for i := 14; i <= 17; i++ { // utime, stime, cutime, cstime
		ticks += max(number(i), 0)
	}
	return &procStat{pid: pid, parent: int(parent), cpu: time.Duration(ticks) * time.Second / tickRate,
		rss: rss * int64(os.Getpagesize())}, true
}

// machineCPU is the time in which any CPU of the machine worked, or, on a
// virtual one, was taken away.
func machineCPU() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return parseCPU(line)
}

// parseCPU reads the first line of /proc/stat: ticks of user, nice, system,
// idle, iowait, irq, softirq and steal, and of guests, which user has too.
func parseCPU(line []byte) time.Duration {
	ticks := int64(0)
	for i, field := range bytes.Fields(line) {
		const idle, iowait, last = 4, 5, 8
		if i == 0 || i == idle || i == iowait || i > last {
			continue
		}
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / tickRate
}
