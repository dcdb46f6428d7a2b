// Package deploy holds tests of what lies beside the server: the image, the
// service, settings of proxies, rules of alerts, backups. Each is tried with
// the programs that read it, as far as a machine without a container engine
// and without systemd can.
package deploy
