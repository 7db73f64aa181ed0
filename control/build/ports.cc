#include "control/build/ports.h"

#include <limits>

namespace podwire::control::build {
namespace {

constexpr PortId kUplinkId = 0, kHostId = 1;

bool same(const tables::PortInfo& a, const tables::PortInfo& b) {
  return a.role == b.role && a.name == b.name && a.mac == b.mac && a.mtu == b.mtu && a.v4 == b.v4 &&
         a.v6 == b.v6 && a.has_v4 == b.has_v4 && a.has_v6 == b.has_v6 && a.port == b.port &&
         a.limits == b.limits;
}

tables::PortInfo pod_info(const Attachment& attachment) {
  tables::PortInfo info;
  info.role = tables::PortRole::pod;
  info.name = (attachment.pod.empty() ? attachment.container_id : attachment.pod) + "/" +
              attachment.interface;
  info.mac = attachment.mac;
  info.mtu = attachment.mtu;
  for (const net::Address& ip : attachment.ips) {
    (ip.is_v4() ? info.v4 : info.v6) = ip;
    (ip.is_v4() ? info.has_v4 : info.has_v6) = true;
  }
  info.port = attachment.port;
  info.limits = attachment.limits;
  return info;
}

// The uplink or the host tap: no pod's, so without addresses to enforce.
tables::PortInfo own_info(tables::PortRole role, const char* name, const net::Mac& mac,
                          std::uint16_t mtu, const std::shared_ptr<io::Port>& port) {
  return {role, name, mac, mtu, {}, {}, false, false, port, nullptr};
}

}  // namespace

std::uint64_t PortsBuilder::oldest_version_in_use() {
  std::erase_if(versions_, [](const auto& version) { return version.second.expired(); });
  return versions_.empty() ? std::numeric_limits<std::uint64_t>::max() : versions_.front().first;
}

PortId PortsBuilder::id_for(const Key& key, const std::shared_ptr<io::Port>& port) {
  if (const auto found = given_.find(key); found != given_.end()) return found->second.id;
  PortId id = kNoPort;
  if (!freed_.empty() && freed_.front().since <= oldest_version_in_use()) {
    id = freed_.front().id;
    freed_.pop_front();
  } else if (next_ < kMaxPorts) {
    id = next_++;
  } else {
    return kNoPort;
  }
  given_[key] = {id, port};
  return id;
}

void PortsBuilder::release(const std::map<Key, const io::Port*>& wanted) {
  for (auto it = given_.begin(); it != given_.end();) {
    const auto found = wanted.find(it->first);
    if (found != wanted.end() && found->second == it->second.port.get()) {
      ++it;
    } else {
      freed_.push_back({it->second.id, version_ + 1});
      it = given_.erase(it);
    }
  }
}

PortsBuilder::Result PortsBuilder::build(const Inputs& inputs, std::vector<Problem>& problems) {
  auto table = std::make_shared<tables::PortTable>();
  Result result;
  std::map<Key, const io::Port*> wanted;
  for (const Attachment& a : inputs.attachments) {
    if (a.port != nullptr) wanted[{a.container_id, a.interface}] = a.port.get();
  }
  release(wanted);
  const auto put = [&](PortId id, tables::PortInfo info) {
    if (table->ports.size() <= id) table->ports.resize(id + 1U);
    if (info.limits != nullptr) table->any_limits = true;
    table->ports[id] = std::move(info);
  };
  const std::uint16_t mtu = inputs.linux_state.host_tap_mtu;
  if (inputs.uplink != nullptr) {
    table->uplink = kUplinkId;
    put(kUplinkId,
        own_info(tables::PortRole::uplink, "uplink0", inputs.uplink_mac, mtu, inputs.uplink));
  }
  if (inputs.host_tap != nullptr) {
    table->host = kHostId;
    // The host tap answers to the uplink's address, so that Linux and the wire see one interface.
    put(kHostId, own_info(tables::PortRole::host, "host", inputs.uplink_mac, mtu, inputs.host_tap));
  }
  for (const Attachment& a : inputs.attachments) {
    if (a.port == nullptr) continue;
    const PortId id = id_for({a.container_id, a.interface}, a.port);
    if (id == kNoPort) {
      problems.push_back({"Pod " + (a.pod.empty() ? a.container_id : a.pod),
                          "has no port: all " + std::to_string(kMaxPorts) +
                              " are taken; detach pods from this node"});
      continue;
    }
    put(id, pod_info(a));
    result.pods.push_back({&a, id});
  }
  bool unchanged = last_ != nullptr && last_->ports.size() == table->ports.size() &&
                   last_->uplink == table->uplink && last_->host == table->host;
  bool same_ports = unchanged;
  for (std::size_t n = 0; unchanged && n < table->ports.size(); ++n) {
    unchanged = same(last_->ports[n], table->ports[n]);
  }
  if (unchanged) {
    result.table = last_;
    return result;
  }
  for (std::size_t n = 0; same_ports && n < table->ports.size(); ++n) {
    same_ports = last_->ports[n].port == table->ports[n].port &&
                 last_->ports[n].role == table->ports[n].role;
  }
  table->generation = last_ == nullptr ? 1 : last_->generation + (same_ports ? 0 : 1);
  last_ = table;
  versions_.emplace_back(++version_, table);
  result.table = last_;
  return result;
}

}  // namespace podwire::control::build
