// Keys and tables for the flow tests, for both families.
#pragma once

#include <cstdint>

#include "dataplane/flow/flow_map.h"

namespace podwire::flow {

template <typename F>
auto test_address(std::uint32_t n) {
  if constexpr (F::family == net::Family::v4) {
    return net::be32(0x0a000000 + n);
  } else {
    auto address = net::Address::parse("fd00:1234:89ab::")->bytes;
    const std::uint32_t raw = net::be32(n).raw();
    std::memcpy(address.data() + 12, &raw, 4);
    return address;
  }
}

template <typename F>
typename F::Key test_key(std::uint8_t protocol, std::uint32_t source, std::uint16_t source_port,
                         std::uint32_t destination, std::uint16_t destination_port) {
  typename F::Key key;
  key.protocol = protocol;
  key.source = test_address<F>(source);
  key.destination = test_address<F>(destination);
  key.source_port = net::be16(source_port);
  key.destination_port = net::be16(destination_port);
  return key;
}

template <typename F>
NewFlow<F> untranslated(const typename F::Key& key, std::uint8_t flags = 0) {
  NewFlow<F> flow;
  flow.forward = key;
  flow.rewrite = {key.source, key.destination, key.source_port, key.destination_port};
  flow.tcp_flags = flags;
  return flow;
}

template <typename F>
NewFlow<F> translated(const typename F::Key& key, const typename F::Key& leaves_as,
                      std::uint8_t flags = 0) {
  NewFlow<F> flow = untranslated<F>(leaves_as, flags);
  flow.forward = key;
  return flow;
}

// A table with one worker, online.
template <typename F>
struct OneWorker {
  explicit OneWorker(std::uint32_t connections, const FlowTimeouts& timeouts = {})
      : quiescence(1), map(connections, timeouts, quiescence) {
    quiescence.online(0);
  }
  ~OneWorker() { quiescence.offline(0); }

  unsigned sweep_all(std::uint32_t now_seconds) {
    return map.sweep(0, 1, map.groups(), now_seconds);
  }
  // Rounds in which nothing is held: erased slots become free.
  void settle(std::uint32_t now_seconds) {
    for (int round = 0; round < 3; ++round) {
      sweep_all(now_seconds);
      quiescence.report(0);
    }
  }

  tables::Quiescence quiescence;
  FlowMap<F> map;
};

}  // namespace podwire::flow
