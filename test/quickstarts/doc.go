// Package quickstarts runs what the documents tell a newcomer to type: the
// programs and commands of docs/quickstart, of README.md and of
// docs/operations.md are taken out of the pages and run as they stand there,
// against a real server. What cannot run here is compiled, where there is a
// compiler for it; the rest is listed with the reason.
package quickstarts
