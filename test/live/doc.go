// Package live plays random cases of people who come, go, say how present they
// are, send, type, read, join and leave, and whose tokens are revoked, on a real
// server and over sockets, and checks what each connection gets against what it
// may see:
//
//   - everybody gets the entries of its memberships, from its join to its leave,
//     each once and in order; a session that comes back may get again what it
//     has acknowledged, and from there on all;
//   - nobody is told of typing, receipts or presence that it may not see, from
//     the answer to a removal on;
//   - nothing that is sent or said after the answer to a revocation reaches a
//     connection that lives by what was revoked; it ends with 0x87, and its token
//     opens nothing more;
//   - a user never hears itself type, and receipts never go back;
//   - who is no member sends, types and reads nothing;
//   - within a few seconds everybody has all entries, and knows how present all
//     are whom it may see: as their connections are, after cuts, takeovers,
//     revocations and restarts too; and the receipts that it was told are those
//     that are stored.
//
// See package model for how to play other cases and more of them.
package live
