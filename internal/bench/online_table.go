package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// OnlineTable writes results as a table with a column for each server, and one
// over time for each.
func OnlineTable(w io.Writer, o *Online, results []*OnlineResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s users online, each in %d conversations of %d, %g a second leave and come back\n\n",
		count(float64(o.Users)), o.Rooms, o.Members, o.Churn)
	table := [][]string{{""}}
	for _, r := range results {
		table[0] = append(table[0], r.Server)
	}
	for _, row := range onlineRows(results) {
		cells := []string{row.name}
		for _, r := range results {
			cells = append(cells, row.cell(r))
		}
		table = append(table, cells)
	}
	writeTable(&b, table)
	for _, r := range results {
		r.overTime(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type onlineRow struct {
	name string
	cell func(r *OnlineResult) string
}

func onlineRows(results []*OnlineResult) []onlineRow {
	number := func(name string, format func(float64) string, of func(r *OnlineResult) float64) onlineRow {
		return onlineRow{name, func(r *OnlineResult) string { return format(of(r)) }}
	}
	latency := func(name string, of func(r *OnlineResult) *Latency) onlineRow {
		return onlineRow{name + ": p50, p99, max, ms", func(r *OnlineResult) string {
			l := of(r)
			return digits(l.P50) + ", " + digits(l.P99) + ", " + digits(l.Max)
		}}
	}
	rows := []onlineRow{
		number("contacts of a user", count, func(r *OnlineResult) float64 { return r.Contacts }),
		number(fmt.Sprintf("until all are connected, %d at a time, s", atOnce), digits, func(r *OnlineResult) float64 { return r.Connecting }),
		number("and know of all their contacts, s", digits, func(r *OnlineResult) float64 { return r.Settling }),
		number("measured, s", digits, func(r *OnlineResult) float64 { return r.Seconds }),
		number("connections that ended", count, func(r *OnlineResult) float64 { return float64(r.Left) }),
		number("users who came back", count, func(r *OnlineResult) float64 { return float64(r.Returned) }),
		number("within the grace time", count, func(r *OnlineResult) float64 { return float64(r.Swallowed) }),
		number("deliveries/s", count, func(r *OnlineResult) float64 { return r.Deliveries }),
		latency("online, to each contact", func(r *OnlineResult) *Latency { return &r.Online }),
		latency("offline, to each contact", func(r *OnlineResult) *Latency { return &r.Offline }),
		latency("who comes back knows of all contacts", func(r *OnlineResult) *Latency { return &r.Snapshot }),
	}
	for _, name := range onlineProcesses(results) {
		rows = append(rows, processRow(name+" CPU, cores", name, func(r *OnlineResult, p *ProcessCost) float64 { return p.CPU / r.Seconds }),
			processRow(name+" CPU, µs/delivery", name, func(_ *OnlineResult, p *ProcessCost) float64 { return p.PerDelivery }))
	}
	return append(rows,
		number("generator CPU, cores", digits, func(r *OnlineResult) float64 { return r.Generator.CPU / r.Seconds }),
		number("other work on the machine, cores", digits, func(r *OnlineResult) float64 { return r.OtherCPU / r.Seconds }),
		number("coalesced", count, func(r *OnlineResult) float64 { return r.Coalesced }),
		number("dropped", count, func(r *OnlineResult) float64 { return r.Dropped }),
		number("views looked at while it ran", count, func(r *OnlineResult) float64 { return float64(r.Looked) }),
		number("of them wrong for longer than 3 s", count, func(r *OnlineResult) float64 { return float64(r.Wrong) }),
		number("wrong in the end, of all", count, func(r *OnlineResult) float64 { return float64(r.WrongEnd) }),
		number("broken connections", count, func(r *OnlineResult) float64 { return float64(len(r.Broken)) }),
	)
}

// onlineProcesses are the names of all that were measured, the server first.
func onlineProcesses(results []*OnlineResult) []string {
	names := []string{ServerProcess}
	for _, r := range results {
		for _, p := range r.Processes {
			if !slices.Contains(names, p.Name) {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

func processRow(title, name string, of func(r *OnlineResult, p *ProcessCost) float64) onlineRow {
	return onlineRow{title, func(r *OnlineResult) string {
		for i := range r.Processes {
			if r.Processes[i].Name == name {
				return digits(of(r, &r.Processes[i]))
			}
		}
		return ""
	}}
}

// overTime writes the samples of one server.
func (r *OnlineResult) overTime(b *strings.Builder) {
	table := [][]string{{r.Server + ": second", "connected", "RSS, MiB", "heap in use, MiB", "next GC at, MiB", "goroutines",
		"CPU, cores", "deliveries/s", "online p99, ms", "offline p99, ms", "coalesced", "dropped", "wrong"}}
	for i, s := range r.Samples {
		cells := []string{count(s.Seconds), count(float64(s.Connected)), digits(s.Memory.RSS),
			digits(s.Memory.Heap), digits(s.Memory.NextGC), count(s.Memory.Goroutines)}
		if i == 0 { // nothing came before it
			cells = append(cells, make([]string, len(table[0])-len(cells))...)
		} else {
			cells = append(cells, digits(s.CPU), count(s.Deliveries), digits(s.Online.P99), digits(s.Offline.P99),
				count(s.Coalesced), count(s.Dropped), count(float64(s.Wrong)))
		}
		table = append(table, cells)
	}
	writeTable(b, table)
}
