#include "bench/policy_versus/connections/loads.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <chrono>
#include <stdexcept>

namespace podwire::policy_versus {
namespace {

using Clock = std::chrono::steady_clock;

// The ports of a batch: `source` and those after it, to the destination's port at this place.
struct Batch {
  unsigned destination;
  std::uint16_t source;
};

Batch batch_of(std::uint64_t number, unsigned size) {
  const std::uint64_t in_a_row = kSources / size;
  return {static_cast<unsigned>(number / in_a_row % kDestinationPorts),
          static_cast<std::uint16_t>(kFirstSource + number % in_a_row * size)};
}

[[noreturn]] void not_through(const Pair& pair, const std::string& what, std::size_t got,
                              std::size_t wanted) {
  throw std::runtime_error(pair.client.name() + " to " + pair.server->name() + ": " +
                           std::to_string(got) + " of " + std::to_string(wanted) + " " + what +
                           " came through in " + std::to_string(kPatienceMs) + " ms");
}

// `pass(pair, batch)` for every pair, again and again until the time is over.
template <typename Pass>
Done repeat(std::vector<Pair>& pairs, const Plan& plan, const Pass& pass) {
  Done done;
  const auto began = Clock::now();
  while (done.seconds < plan.seconds) {
    for (Pair& pair : pairs) {
      pass(pair, batch_of(plan.first_batch + done.batches, plan.batch));
    }
    ++done.batches;
    done.flows += plan.batch * pairs.size();
    done.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  }
  return done;
}

std::uint16_t tcp_port(const Pair& pair, const Batch& batch) {
  return static_cast<std::uint16_t>(pair.ports.tcp + batch.destination);
}

std::vector<Descriptor> begin_connections(const Pair& pair, const Batch& batch, unsigned count) {
  pair.server->listener(tcp_port(pair, batch));
  pair.client.enter();
  std::vector<Descriptor> begun;
  begun.reserve(count);
  for (unsigned i = 0; i < count; ++i) {
    begun.push_back(connect_tcp(pair.server->address(), tcp_port(pair, batch),
                                static_cast<std::uint16_t>(batch.source + i)));
  }
  return begun;
}

std::vector<Descriptor> accept_all(const Pair& pair, const Batch& batch, unsigned count) {
  const int listener = pair.server->listener(tcp_port(pair, batch));
  std::vector<Descriptor> accepted;
  accepted.reserve(count);
  while (accepted.size() < count) {
    Descriptor one(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (one.get() >= 0) {
      accepted.push_back(std::move(one));
    } else if (errno != EAGAIN) {
      fail("accept");
    } else if (!readable(listener, kPatienceMs)) {
      not_through(pair, "connections", accepted.size(), count);
    }
  }
  return accepted;
}

void receive(const Pair& pair, int receiver, unsigned count, sockaddr_in* last_sender = nullptr) {
  std::uint64_t payload;
  for (unsigned got = 0; got < count;) {
    socklen_t length = sizeof(sockaddr_in);
    if (recvfrom(receiver, &payload, sizeof payload, 0, reinterpret_cast<sockaddr*>(last_sender),
                 last_sender != nullptr ? &length : nullptr) >= 0) {
      ++got;
    } else if (errno != EAGAIN) {
      fail("recvfrom");
    } else if (!readable(receiver, kPatienceMs)) {
      not_through(pair, "datagrams", got, count);
    }
  }
}

}  // namespace

Server::Server(const std::string& name, const std::string& ip) : namespace_(name) {
  if (inet_pton(AF_INET, ip.c_str(), &address_) != 1) {
    throw std::runtime_error("\"" + ip + "\" is no IPv4 address");
  }
}

int Server::listener(std::uint16_t port) {
  Descriptor& one = listeners_[port];
  if (one.get() < 0) {
    namespace_.enter();
    one = listen_tcp(port);
  }
  return one.get();
}

int Server::receiver(std::uint16_t port) {
  Descriptor& one = receivers_[port];
  if (one.get() < 0) {
    namespace_.enter();
    one = bind_udp(port);
  }
  return one.get();
}

Pair::Pair(const std::string& client_name, std::shared_ptr<Server> its_server, Ports of_server)
    : client(client_name), server(std::move(its_server)), ports(of_server) {
  server->receiver(ports.udp);
  client.enter();
  marker = bind_udp(0);
  const auto peer = socket_address(server->address(), ports.udp);
  if (connect(marker.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) != 0) {
    fail("connect");
  }
}

void pass_marker(Pair& pair, bool and_back) {
  const std::uint64_t payload = 0;
  const int receiver = pair.server->receiver(pair.ports.udp);
  sockaddr_in sender{};
  if (send(pair.marker.get(), &payload, sizeof payload, 0) < 0) fail("send");
  receive(pair, receiver, 1, &sender);
  if (!and_back) return;
  if (sendto(receiver, &payload, sizeof payload, 0, reinterpret_cast<const sockaddr*>(&sender),
             sizeof sender) < 0) {
    fail("sendto");
  }
  receive(pair, pair.marker.get(), 1);
}

Done open_connections(std::vector<Pair>& pairs, const Plan& plan) {
  // The server's ends are closed a batch later, when the resets of the client's have come.
  std::vector<Descriptor> held;
  return repeat(pairs, plan, [&](Pair& pair, const Batch& batch) {
    const auto begun = begin_connections(pair, batch, plan.batch);
    held = accept_all(pair, batch, plan.batch);
  });
}

Done open_refused(std::vector<Pair>& pairs, const Plan& plan) {
  for (Pair& pair : pairs) pass_marker(pair, true);  // establishes the marker's flow
  const auto done = repeat(pairs, plan, [&](Pair& pair, const Batch& batch) {
    const auto begun = begin_connections(pair, batch, plan.batch);
    pass_marker(pair, false);
  });
  for (Pair& pair : pairs) {
    pass_marker(pair, true);
    for (unsigned i = 0; i < kDestinationPorts; ++i) {
      if (!readable(pair.server->listener(tcp_port(pair, {i, 0})), 0)) continue;
      throw std::runtime_error(pair.client.name() + " to " + pair.server->name() +
                               ": a connection that must be refused was accepted");
    }
  }
  return done;
}

Done send_datagrams(std::vector<Pair>& pairs, const Plan& plan) {
  return repeat(pairs, plan, [&](Pair& pair, const Batch& batch) {
    const auto port = static_cast<std::uint16_t>(pair.ports.udp + batch.destination);
    const int receiver = pair.server->receiver(port);
    pair.client.enter();
    for (unsigned i = 0; i < plan.batch; ++i) {
      send_udp(pair.server->address(), port, static_cast<std::uint16_t>(batch.source + i));
    }
    receive(pair, receiver, plan.batch);
  });
}

}  // namespace podwire::policy_versus
