// Package e2e tests the real program from outside: it builds cmd/parley, runs
// it as a child process and talks to it as users do. Processes are killed,
// databases are stopped, readers are slow; what the server acknowledged must
// stand, and every subscriber must get its streams whole and in order.
//
// The chances that a test takes come from a seed, which it prints. Set
// PARLEY_E2E_SEED to take the same ones again.
package e2e
