package doctor

import "context"

const (
	// otherFiles are those that are no clients: the database, keys, the log,
	// HTTP.
	otherFiles = 200
	// fewWaiting connections are refused when many come back at once.
	fewWaiting = 1024
)

// limits compares what the system allows with what the settings promise.
func (d *doctor) limits(context.Context) {
	wanted := uint64(max(d.MaxConnections, 0)) + otherFiles
	if n, known := openFiles(); known {
		if n < wanted {
			d.warn("raise it (LimitNOFILE of the systemd unit, ulimits of the container), or lower max-connections",
				"this process may open %d files, max-connections of %d needs %d", n, d.MaxConnections, wanted)
		} else {
			d.ok("%d files may be open, enough for max-connections of %d", n, d.MaxConnections)
		}
	}
	if n, known := backlog(); known && n < fewWaiting {
		d.warn("sysctl net.core.somaxconn=4096", "net.core.somaxconn is %d: clients that come back all at once are turned away", n)
	}
}
