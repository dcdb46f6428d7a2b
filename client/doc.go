// Package client talks to a Parley server: it sends messages that stand once,
// and tells what happens, in order and without a gap, whatever the link does.
//
//	c, err := client.Connect(ctx, client.Options{
//		URL:   "http://localhost:8080",
//		Token: client.StaticToken(token),
//	})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//
//	sent, err := c.Send(ctx, "c1", client.Draft{Content: "hello"})
//	fmt.Println(sent.Seq, err)
//
//	for ev := range c.Events() {
//		switch ev := ev.(type) {
//		case client.Entry:
//			fmt.Println(ev.SenderID, ev.Content)
//		case client.Status:
//			fmt.Println("now", ev.State)
//		}
//	}
//
// # What is guaranteed
//
// A Send that returned no error is committed. It stands once, however often
// the link broke: it is repeated with the same client id until the server has
// committed or refused it, or its context ends. The sends of one conversation
// go one after the other, in the order of the calls.
//
// The entries of a conversation come on Events in the order of seq, once each
// and without a gap. What was missed while there was no connection is fetched
// when it is back. Where the server does not hold it any more, or its database
// was restored, a Gap says so.
//
// # Slow readers
//
// Events is a channel with no buffer to speak of: who reads slowly makes the
// client wait, and not the server. A bounded number of entries waits in
// memory; those above it are left out and fetched again later, so none is
// lost. Of typing, receipts, presence and counts the newest of each is kept,
// up to some thousand.
// Nothing else waits for a reader: sends, tokens and reconnects go on.
//
// # Goroutines
//
// All methods of a Client may be called from any goroutine. Events has one
// channel, so several readers share what comes.
package client
