package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Markdown writes the report as tables that can be read as they stand, one for
// each load: a column for each server, medians with the least and the most.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	for i := range r.Cases {
		r.Cases[i].markdown(&b)
	}
	m := &r.Machine
	fmt.Fprintf(&b, "%s. %s, %d CPUs", r.Began.Format("2006-01-02"), m.System, m.CPUs)
	if m.CPU != "" {
		fmt.Fprintf(&b, " (%s)", m.CPU)
	}
	fmt.Fprintf(&b, ", %s.", m.Go)
	if m.TempInRAM {
		b.WriteString(" The folder for temporary files is in memory: a commit of the embedded database costs no disk; set TMPDIR.")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *CaseReport) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "### %s\n\n", c.Load.Describe())
	table := [][]string{{""}}
	for _, s := range c.Servers {
		table[0] = append(table[0], s.Name)
	}
	for _, row := range c.rows() {
		cells := []string{row.name}
		for _, s := range c.Servers {
			cells = append(cells, row.cell(s.Runs))
		}
		if row.always || slices.ContainsFunc(cells[1:], func(s string) bool { return s != "" && s != "0" }) {
			table = append(table, cells)
		}
	}
	writeTable(b, table)
	for _, s := range c.Servers {
		for i, run := range s.Runs {
			if len(run.Broken) > 0 { // most often the others broke for the same reason
				fmt.Fprintf(b, "%s, run %d: %s\n\n", s.Name, i+1, run.Broken[0])
			}
		}
	}
}

// row is one line of a table. Without always it is left out where all servers
// have nothing or 0.
type row struct {
	name   string
	always bool
	format func(float64) string
	value  func(*Result) (v float64, ok bool)
}

// cell is the median of the runs, with the least and the most.
func (r *row) cell(runs []*Result) string {
	var values []float64
	for _, run := range runs {
		if v, ok := r.value(run); ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return ""
	}
	slices.Sort(values)
	middle, least, most := r.format(median(values)), r.format(values[0]), r.format(values[len(values)-1])
	if least == most {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, least, most)
}

// median is that of sorted values.
func median(values []float64) float64 {
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func (c *CaseReport) rows() []row {
	always := func(f func(*Result) float64) func(*Result) (float64, bool) {
		return func(r *Result) (float64, bool) { return f(r), true }
	}
	latency, what, per := func(r *Result) *Latency { return &r.Delivery }, "delivery", "delivery"
	rows := []row{{"msgs/s", true, count, always(func(r *Result) float64 { return r.Messages })}}
	if c.Load.Case == Submit {
		latency, what, per = func(r *Result) *Latency { return &r.Ack }, "PUBACK", "message"
	} else {
		rows = append(rows, row{"deliveries/s", true, count, always(func(r *Result) float64 { return r.Deliveries })})
	}
	rows = append(rows,
		row{what + " p50, ms", true, digits, always(func(r *Result) float64 { return latency(r).P50 })},
		row{what + " p90, ms", true, digits, always(func(r *Result) float64 { return latency(r).P90 })},
		row{what + " p99, ms", true, digits, always(func(r *Result) float64 { return latency(r).P99 })},
		row{what + " max, ms", true, digits, always(func(r *Result) float64 { return latency(r).Max })},
	)
	for _, name := range c.processes() {
		rows = append(rows,
			row{name + " CPU, s", false, digits, processCost(name, func(p *ProcessCost) float64 { return p.CPU })},
			row{name + " CPU, µs/" + per, false, digits, processCost(name, func(p *ProcessCost) float64 { return p.PerDelivery })})
	}
	rows = append(rows,
		row{"generator CPU, s", true, digits, always(func(r *Result) float64 { return r.Generator.CPU })},
		row{"generator CPU, µs/" + per, true, digits, always(func(r *Result) float64 { return r.Generator.PerDelivery })},
		row{"other work on the machine, CPU s", false, digits, func(r *Result) (float64, bool) { return r.OtherCPU, r.OtherCPU > 0 }},
		row{"server RSS before, MiB", false, digits, processCost(ServerProcess, func(p *ProcessCost) float64 { return p.RSSBefore })},
		row{"server RSS after, MiB", false, digits, processCost(ServerProcess, func(p *ProcessCost) float64 { return p.RSSAfter })},
	)
	return append(rows, c.faultRows()...)
}

func (c *CaseReport) faultRows() []row {
	number := func(name string, shown bool, f func(*Result) uint64) row {
		return row{name, shown, count, func(r *Result) (float64, bool) { return float64(f(r)), true }}
	}
	delivers := c.Load.Case != Submit
	return []row{
		number("lost", delivers, func(r *Result) uint64 { return r.Lost }),
		number("duplicated", delivers, func(r *Result) uint64 { return r.Duplicated }),
		number("out of order", delivers, func(r *Result) uint64 { return r.Disordered }),
		number("conversations in differing order", delivers, func(r *Result) uint64 { return uint64(r.OtherOrders) }),
		number("never sent there", false, func(r *Result) uint64 { return r.Foreign }),
		number("never acknowledged", false, func(r *Result) uint64 { return r.Unacknowledged }),
		number("could not be sent", false, func(r *Result) uint64 { return r.Unsent }),
		{"acknowledged, not in the log", !delivers, count, ofParley(func(r *Result) uint64 { return r.LogMissing })},
		{"in the log, never sent", !delivers, count, ofParley(func(r *Result) uint64 { return r.LogSurplus })},
		number("broken connections", false, func(r *Result) uint64 { return uint64(len(r.Broken)) }),
	}
}

func ofParley(f func(*Result) uint64) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) { return float64(f(r)), r.Parley }
}

// processes are the names of all that were measured, the server first.
func (c *CaseReport) processes() []string {
	var names []string
	for _, s := range c.Servers {
		for _, run := range s.Runs {
			for _, p := range run.Processes {
				if !slices.Contains(names, p.Name) {
					names = append(names, p.Name)
				}
			}
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case a == ServerProcess && b != ServerProcess:
			return -1
		case b == ServerProcess && a != ServerProcess:
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}

func processCost(name string, f func(*ProcessCost) float64) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) {
		for i := range r.Processes {
			if r.Processes[i].Name == name {
				return f(&r.Processes[i]), true
			}
		}
		return 0, false
	}
}

// count writes a whole number with commas.
func count(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// digits writes a number with three digits that mean something.
func digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return count(v)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// writeTable writes a Markdown table whose columns are lined up.
func writeTable(b *strings.Builder, table [][]string) {
	widths := make([]int, len(table[0]))
	for _, cells := range table {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	line := func(cells []string, fill string) {
		for i, cell := range cells {
			b.WriteString("| " + cell + strings.Repeat(fill, widths[i]-utf8.RuneCountInString(cell)) + " ")
		}
		b.WriteString("|\n")
	}
	line(table[0], " ")
	line(make([]string, len(widths)), "-")
	for _, cells := range table[1:] {
		line(cells, " ")
	}
	b.WriteString("\n")
}
