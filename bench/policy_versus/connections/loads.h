// What is measured: batches of new flows from a pod to another, each batch when the one before has
// come through, so that nothing is lost for want of time and the slowest part sets the rate. Both
// ends are sockets of this process, in the pods' namespaces; one thread.
//
//   open       SYN ─▶  ◀─ SYN ACK  ACK ─▶  ... RST ─▶    a batch is through when all are accepted
//   refused    SYN ─▶ nothing; then a datagram of an established flow, which comes after them
//   datagrams  the first, and only, datagram of a flow each
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/policy_versus/connections/sockets.h"

namespace podwire::policy_versus {

// Flows are told apart by source port, of those that Linux gives to nobody by itself, and by one of
// some destination ports in a row. After half a million a pair uses the same ones again.
constexpr unsigned kDestinationPorts = 16, kFirstSource = 1024, kSources = 31744;
constexpr int kPatienceMs = 5000;  // for a batch to come through

// Of kDestinationPorts in a row, the first. A datagram to `udp` must be let through in any case.
struct Ports {
  std::uint16_t tcp = 8080, udp = 9000;
};

// A pod that serves: its ports are opened when they are first asked for.
class Server {
 public:
  Server(const std::string& name, const std::string& ip);
  [[nodiscard]] const std::string& name() const { return namespace_.name(); }
  [[nodiscard]] in_addr address() const { return address_; }
  int listener(std::uint16_t port);  // TCP
  int receiver(std::uint16_t port);  // UDP

 private:
  Namespace namespace_;
  in_addr address_{};
  std::map<std::uint16_t, Descriptor> listeners_, receivers_;
};

// A client pod and the pod that it sends to.
struct Pair {
  Pair(const std::string& client_name, std::shared_ptr<Server> its_server, Ports of_server);

  Namespace client;
  std::shared_ptr<Server> server;
  Ports ports;
  Descriptor marker;  // the client's, connected to the server's first UDP port
};

struct Plan {
  double seconds = 1;
  unsigned batch = 64;  // of flows, 1 to 1,000; up to 80 fit into a veth's ring with their ends
  std::uint64_t first_batch = 0;  // where an earlier run ended, so that flows are new
};

struct Done {
  std::uint64_t flows = 0, batches = 0;
  double seconds = 0;
};

// Pairs take turns, batch by batch. They throw when a batch does not come through, or comes through
// that should not.
Done open_connections(std::vector<Pair>& pairs, const Plan& plan);
Done open_refused(std::vector<Pair>& pairs, const Plan& plan);
Done send_datagrams(std::vector<Pair>& pairs, const Plan& plan);

// A datagram from the client to the server's first UDP port, and its answer if `and_back`. What one
// pod sent to another before it has been judged when it arrives.
void pass_marker(Pair& pair, bool and_back);

}  // namespace podwire::policy_versus
