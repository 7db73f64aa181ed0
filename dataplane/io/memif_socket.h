// The control socket of a memif port: where it is, who is on the other end, one message at a time.
// Nothing here waits. Memif thread, and control thread while a port is made.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "dataplane/io/descriptor.h"
#include "dataplane/io/memif_protocol.h"
#include "dataplane/result.h"

namespace podwire::io {

struct MemifAddress {
  std::string netns;   // path of a network namespace, for abstract sockets; empty: our own
  std::string socket;  // "@name": abstract; else an absolute path in a folder that exists
  // Of a file-system socket that podwire serves.
  uid_t owner = 0;
  gid_t group = 0;
  mode_t mode = 0660;
  [[nodiscard]] bool is_abstract() const { return socket.starts_with('@'); }
};

// Fails when the name is empty, relative, or longer than the 107 bytes that sockaddr_un holds.
Result<void> check_memif_address(const MemifAddress& address);

// A listening socket. One that a dead process left is removed; one that somebody serves is refused.
Result<Descriptor> listen_memif(const MemifAddress& address);
// Removes the file-system socket; nothing for an abstract one.
void remove_memif_socket(const MemifAddress& address);
// A connection, or nothing when nobody listens yet.
Result<Descriptor> connect_memif(const MemifAddress& address);

// Who opened the other end (SO_PEERCRED): "pid=1 uid=0 gid=0".
std::string memif_peer(int connection);

struct MemifReceived {
  memif::Message message;
  std::vector<Descriptor> passed;
};
// The next message; nothing when none is there yet. The error is the end of the connection.
Result<std::optional<MemifReceived>> receive_memif(int connection);
Result<void> send_memif(int connection, const memif::Message& message, int passed);

}  // namespace podwire::io
