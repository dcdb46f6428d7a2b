// Package bridge is the log. It commits drafts in groups (Log.Submit), lets
// readers follow streams by seq (Log.Watch, Log.Read) and keeps the cursors
// of durable sessions. It declares the Store contract; the databases stand
// below it and it knows nothing of MQTT or HTTP.
package bridge
