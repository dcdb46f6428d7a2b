package main

import (
	"fmt"
	"net"
	"os"
)

// tellSystemd tells the service manager what the server is up to, where a unit
// of Type=notify asks for it (sd_notify(3)).
func tellSystemd(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	// A path that begins with @ is in the abstract namespace, for net too.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte(state))
		_ = c.Close() // a datagram is sent or not
	}
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	return nil
}
