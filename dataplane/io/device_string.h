// What a DPDK device string says: "net_af_xdp0,iface=eth0" or "0000:03:00.0,key=value". Plain
// values, any thread.
#pragma once

#include <cstdint>
#include <string>

namespace podwire::io {

struct DeviceString {
  std::string name, arguments;
  [[nodiscard]] std::string value(const std::string& key) const;  // empty when it is not there
  [[nodiscard]] bool is_driver(const std::string& prefix) const { return name.starts_with(prefix); }
  // Bytes of the largest frame that the driver carries whole, by its own account of the string.
  // net_memif: one buffer of the peer (bsize=, which the peer's is to be as well); a frame over
  // several confuses the rings of DPDK 22.11 (drivers/net/memif/rte_eth_memif.c: flags that stay,
  // places counted wrongly). net_af_packet: a place of its ring (framesz=). Others: 65,535.
  [[nodiscard]] std::uint16_t largest_frame() const;
  // With what podwire asks of a driver unless the string says otherwise.
  [[nodiscard]] std::string with_defaults(unsigned queues) const;
};
DeviceString parse_device_string(const std::string& text);

}  // namespace podwire::io
