package config

import "runtime"

// SpareDescriptors is the number of file descriptors reserved for health checks and the
// admin listener, so that they work when every connection is in use.
const SpareDescriptors = 32

const (
	unlimited     = 1 << 20 // used if the descriptor limit is higher or missing
	moreOfAll     = 1000    // connections beside those of clients, at least
	ownFiles      = 16      // standard streams, listeners, the runtime's poller, files that are being read
	ownFilesALoop = 3       // epoll, its eventfd, and a connection that is being duplicated
)

// Connections holds the limits on connections.
type Connections struct {
	Clients int // WebSockets, event streams and waiting polls: [Serve.MaxConnections], or its default
	All     int // every connection of the public port, also idle ones and those of publishers
}

// Connections returns the limits on connections: MaxConnections within the descriptor limit
// of the process. Both are below 1 if that limit is too low for a server.
func (c *Serve) Connections() Connections {
	room := connectionRoom()
	if c.MaxConnections == 0 {
		return Connections{Clients: min(descriptorLimit()*4/5, room), All: room}
	}
	return Connections{Clients: c.MaxConnections, All: min(c.MaxConnections+max(c.MaxConnections/4, moreOfAll), room)}
}

// connectionRoom returns how many connections fit into the descriptor limit.
func connectionRoom() int {
	return descriptorLimit() - SpareDescriptors - ownDescriptors()
}

// ownDescriptors returns how many descriptors the server needs in addition to connections.
func ownDescriptors() int {
	return ownFiles + ownFilesALoop*runtime.GOMAXPROCS(0)
}
