package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// Comparison is loads that are put on servers, several times.
type Comparison struct {
	Loads    []Load // filled
	Servers  []Server
	Runs     int
	Progress io.Writer // gets a line for each run; nil is nobody
}

// Report is what a comparison found.
type Report struct {
	Machine Machine      `json:"machine"`
	Began   time.Time    `json:"began"`
	Cases   []CaseReport `json:"cases"`
}

// CaseReport is what one load found.
type CaseReport struct {
	Load    Load           `json:"load"`
	Servers []ServerReport `json:"servers"`
}

// ServerReport is what the runs of one load on one server found.
type ServerReport struct {
	Name string    `json:"name"`
	Runs []*Result `json:"runs"`
}

// Run puts each load on each server in turn, and all that again for every
// further run, so that what else the machine does meets all servers alike.
// When a run fails, the report holds those before it.
func (c *Comparison) Run(ctx context.Context) (*Report, error) {
	r := &Report{Machine: thisMachine(), Began: time.Now().UTC().Truncate(time.Second)}
	for _, load := range c.Loads {
		servers := make([]ServerReport, len(c.Servers))
		for i, s := range c.Servers {
			servers[i].Name = s.Name
		}
		r.Cases = append(r.Cases, CaseReport{Load: load, Servers: servers})
	}
	for run := range c.Runs {
		for i := range c.Loads {
			for k := range c.Servers {
				// Another one is first each time.
				at := (k + run) % len(c.Servers)
				result, err := runOn(ctx, &c.Loads[i], c.Servers[at])
				if err != nil {
					return r, err
				}
				to := &r.Cases[i].Servers[at]
				to.Runs = append(to.Runs, result)
				c.tell(run, &c.Loads[i], result)
			}
		}
	}
	return r, nil
}

func runOn(ctx context.Context, load *Load, s Server) (result *Result, err error) {
	t, stop, err := s.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return Run(ctx, load, t)
}

func (c *Comparison) tell(run int, load *Load, r *Result) {
	if c.Progress == nil {
		return
	}
	_, _ = fmt.Fprintf(c.Progress, "%d/%d  %s  %s: %s msgs/s, %s deliveries/s\n", run+1, c.Runs, load.Describe(), r.Server,
		count(r.Messages), count(r.Deliveries)) // progress is not worth an error
	for _, fault := range r.Faults() {
		_, _ = fmt.Fprintf(c.Progress, "      %s\n", fault)
	}
}

// Err says what Parley did that it must not do, or is nil. Other brokers may
// do what they like.
func (r *Report) Err() error {
	var errs []error
	for _, c := range r.Cases {
		for _, s := range c.Servers {
			for i, result := range s.Runs {
				if faults := result.Faults(); result.Parley && len(faults) > 0 {
					errs = append(errs, fmt.Errorf("%s, %s, run %d: %s", s.Name, c.Load.Describe(), i+1, strings.Join(faults, ", ")))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// Machine is where a report comes from.
type Machine struct {
	System    string `json:"system"`
	CPUs      int    `json:"cpus"`
	CPU       string `json:"cpu,omitempty"`
	Go        string `json:"go"`
	TempInRAM bool   `json:"tempInRAM,omitempty"` // the data folders are not on a disk
}

func thisMachine() Machine {
	m := Machine{System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(),
		TempInRAM: inMemory(os.TempDir())}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + string(bytes.TrimSpace(release))
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuModel(text)
	}
	return m
}

func cpuModel(text []byte) string {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
