// Package live plays random cases of people who come, go, say how present they
// are, type, read, join and leave, on a real server and over sockets, and
// checks what each connection gets against what it may see:
//
//   - nobody is told of typing, receipts or presence that it may not see, from
//     the answer to a removal on;
//   - a user never hears itself type, and receipts never go back;
//   - who is no member types and reads nothing;
//   - within a few seconds everybody knows how present all are whom it may see:
//     as their connections are, after cuts, takeovers and restarts too; and the
//     receipts that it was told are those that are stored.
//
// See package model for how to play other cases and more of them.
package live
