#include "control/cni/port_kind.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

namespace podwire::control {
namespace {

using nlohmann::json;

constexpr std::pair<const char*, PortKind> kPortKinds[] = {
    {"tap", PortKind::tap}, {"vhost-user", PortKind::vhost_user}, {"memif", PortKind::memif}};
constexpr std::uint32_t kMemifQueues = 16, kVhostQueues = 64, kLargestRing = 16384;
constexpr std::uint16_t kLeastMtu = 1280,
                        kLargestMtu = 65000;  // RFC 8200, section 5; a frame's end

std::optional<PortKind> port_kind_of(const std::string& name) {
  for (const auto& [known, kind] : kPortKinds) {
    if (name == known) return kind;
  }
  return std::nullopt;
}

Result<PortKind> read_port_kind(const std::string& name) {
  const auto kind = port_kind_of(name.empty() ? "tap" : name);
  if (!kind) return fail("port.kind: \"" + name + "\" is none of tap, vhost-user, memif");
  return *kind;
}

// What an annotation may not name: it is the pod's word, and podwired acts as root.
Result<void> check_modest(const cni::PortWish& wish) {
  if (!wish.mode.empty() || wish.owner != 0 || wish.group != 0) {
    return fail("port.mode, port.owner and port.group are for the network's configuration alone");
  }
  if (!wish.socket.empty() && !wish.socket.starts_with('@')) {
    return fail("port.socket: a pod may choose an abstract one (\"@name\") only");
  }
  return {};
}

Result<cni::PortWish> read_annotation(const std::string& text, const cni::PortWish& before) {
  json value = text;
  if (text.starts_with('{')) value = json::parse(text, nullptr, false);
  if (value.is_discarded()) return fail("is neither a kind of port nor a JSON object");
  cni::PortWish own;
  std::string error;
  cni::read_port_wish(value, "port", own, error);
  if (!error.empty()) return fail(error);
  if (auto modest = check_modest(own); !modest) return tl::unexpected(modest.error());
  const auto kind = read_port_kind(own.kind), old = read_port_kind(before.kind);
  if (!kind) return tl::unexpected(kind.error());
  // Options of another kind mean nothing here.
  if (!own.kind.empty() && (!old || *kind != *old)) return own;
  cni::PortWish merged = before;
  cni::read_port_wish(value, "port", merged, error);
  return merged;
}

Result<std::uint16_t> read_socket_mode(const std::string& text) {
  unsigned mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7' || mode > 0777) mode = 07777;
    mode = mode * 8 + static_cast<unsigned>(c - '0');
  }
  if (text.empty() || mode > 0777 || (mode & 0600) != 0600) {
    return fail("port.mode: \"" + text + "\" is no mode of a socket, as \"0660\" is");
  }
  if ((mode & 0007) != 0) {
    return fail("port.mode: " + text + " lets everybody in; give port.owner or port.group");
  }
  return static_cast<std::uint16_t>(mode);
}

Result<void> check_tap(const cni::PortWish& wish) {
  const std::pair<const char*, bool> options[] = {
      {"role", !wish.role.empty()},     {"socket", !wish.socket.empty()},
      {"mode", !wish.mode.empty()},     {"owner", wish.owner != 0},
      {"group", wish.group != 0},       {"queues", wish.queues != 0},
      {"ringSize", wish.ring_size != 0}};
  for (const auto& [name, given] : options) {
    if (given) return fail(std::string("port.") + name + ": has no meaning for a tap");
  }
  return {};
}

Result<void> read_port_numbers(const cni::PortWish& wish, PodPort& port) {
  const bool memif = port.kind == PortKind::memif;
  const std::uint32_t most = memif ? kMemifQueues : kVhostQueues;
  if (wish.queues > most) {
    return fail("port.queues: " + std::to_string(wish.queues) + "; a " + port_kind_name(port.kind) +
                " port has 1 to " + std::to_string(most));
  }
  port.queues = wish.queues == 0 && memif ? 1 : wish.queues;
  if (wish.ring_size == 0) return {};
  if (!memif) return fail("port.ringSize: a vhost-user port's rings are the pod's to size");
  if (!std::has_single_bit(wish.ring_size) || wish.ring_size > kLargestRing) {
    return fail("port.ringSize: " + std::to_string(wish.ring_size) + " is no power of two up to " +
                std::to_string(kLargestRing));
  }
  port.ring_size = wish.ring_size;
  return {};
}

Result<void> read_port_role(const cni::PortWish& wish, PodPort& port) {
  if (!wish.role.empty() && wish.role != "server" && wish.role != "client") {
    return fail("port.role: \"" + wish.role + "\" is neither server nor client");
  }
  if (port.kind == PortKind::vhost_user && wish.role == "server") {
    return fail("port.role: the pod serves a vhost-user socket, podwire is its client");
  }
  port.client = port.kind == PortKind::vhost_user || wish.role == "client";
  return {};
}

Result<void> place_socket(const cni::PortWish& wish, const PortPlace& place, PodPort& port) {
  port.socket = wish.socket;
  if (port.socket.empty()) {
    port.socket = port.kind == PortKind::memif ? "@podwire/" + place.interface : place.folder;
  }
  if (port.socket.starts_with('@')) {
    if (port.kind != PortKind::memif) {
      return fail("port.socket: " + port.socket + ": a vhost-user socket is never abstract");
    }
    if (port.socket.size() == 1) return fail("port.socket: \"@\" names nothing");
    if (!wish.mode.empty() || wish.owner != 0 || wish.group != 0) {
      return fail("port.socket: " + port.socket + " is no file: it has no mode, owner or group");
    }
  } else if (!port.socket.starts_with('/')) {
    return fail("port.socket: \"" + port.socket + "\" is neither \"@name\" nor an absolute path");
  } else if (port.socket.ends_with('/')) {
    port.folder = port.socket + place.pod;
    port.socket = port.folder + "/" + place.interface + ".sock";
  }
  if (port.socket.size() > kLongestSocket) {
    return fail("port.socket: " + port.socket + " has " + std::to_string(port.socket.size()) +
                " bytes, the path of a socket at most " + std::to_string(kLongestSocket));
  }
  return {};
}

std::string queue_words(const PodPort& port) {
  if (port.queues <= 1) return "";
  const std::string queues = std::to_string(port.queues);
  return " --rxq=" + queues + " --txq=" + queues;
}

std::string bare_name(const std::string& socket) {
  return socket.starts_with('@') ? socket.substr(1) : socket;
}

std::vector<PeerLine> memif_lines(const Attachment& a) {
  const PodPort& port = a.kind;
  const bool abstract = port.socket.starts_with('@');
  const std::string queues = std::to_string(port.queues), mac = a.mac.to_string();
  return {{"testpmd", "dpdk-testpmd --no-pci --vdev=net_memif0,role=" +
                          std::string(port.client ? "server" : "client") + ",id=0,socket=" +
                          bare_name(port.socket) + ",socket-abstract=" + (abstract ? "yes" : "no") +
                          ",mac=" + mac + " --" + queue_words(port)},
          {"vpp", "create memif socket id 1 filename " + port.socket +
                      "; create interface memif socket-id 1 id 0 " +
                      (port.client ? "master" : "slave") + " hw-addr " + mac + " rx-queues " +
                      queues + " tx-queues " + queues},
          {"libmemif", "socket path \"" + port.socket + "\", interface id 0, " +
                           (port.client ? "master" : "slave") + ", ethernet mode, up to " + queues +
                           " rings each way"}};
}

std::vector<PeerLine> vhost_lines(const Attachment& a) {
  const PodPort& port = a.kind;
  const std::uint32_t pairs = std::max(port.queues, 1U);
  const std::string queues = std::to_string(pairs), mac = a.mac.to_string();
  const std::string virtio_user =
      "net_virtio_user0,path=" + port.socket + ",server=1,queues=" + queues + ",mac=" + mac;
  std::string card = "virtio-net-pci,netdev=podwire0,mac=" + mac;
  if (pairs > 1) card += ",mq=on,vectors=" + std::to_string(2 * pairs + 2);
  return {{"testpmd", "dpdk-testpmd --no-pci --vdev=" + virtio_user + " --" + queue_words(port)},
          {"vpp", "dpdk { vdev " + virtio_user + " } in its startup.conf"},
          {"qemu",
           "-object memory-backend-memfd,id=memory,size=MEMORY,share=on"
           " -numa node,memdev=memory -chardev socket,id=podwire0,path=" +
               port.socket + ",server=on,wait=off -netdev vhost-user,id=podwire0," +
               "chardev=podwire0,queues=" + queues + " -device " + card}};
}

}  // namespace

const char* port_kind_name(PortKind kind) {
  for (const auto& [name, known] : kPortKinds) {
    if (known == kind) return name;
  }
  return "";
}

Result<cni::PortWish> with_annotations(const cni::PortWish& of_configuration,
                                       const kube::Labels& annotations, const Attachment& of) {
  cni::PortWish wish = of_configuration;
  for (const std::string& name : {of.network, of.interface}) {
    const auto found = annotations.find(kPortAnnotation + name);
    if (found == annotations.end()) continue;
    auto read = read_annotation(found->second, wish);
    if (!read) return fail("annotation " + found->first + ": " + read.error().message);
    wish = std::move(*read);
  }
  return wish;
}

Result<PodPort> choose_port(const cni::PortWish& wish, const PortPlace& place) {
  const auto kind = read_port_kind(wish.kind);
  if (!kind) return tl::unexpected(kind.error());
  if (wish.mtu != 0 && (wish.mtu < kLeastMtu || wish.mtu > kLargestMtu)) {
    return fail("port.mtu: " + std::to_string(wish.mtu) + " is not from " +
                std::to_string(kLeastMtu) + " to " + std::to_string(kLargestMtu));
  }
  PodPort port;
  port.kind = *kind;
  if (port.kind == PortKind::tap) {
    if (auto good = check_tap(wish); !good) return tl::unexpected(good.error());
    return port;
  }
  if (!wish.mode.empty()) {
    const auto mode = read_socket_mode(wish.mode);
    if (!mode) return tl::unexpected(mode.error());
    port.mode = *mode;
  }
  port.owner = wish.owner;
  port.group = wish.group;
  for (auto& done : {read_port_numbers(wish, port), read_port_role(wish, port),
                     place_socket(wish, place, port)}) {
    if (!done) return tl::unexpected(done.error());
  }
  return port;
}

json to_json(const PodPort& port) {
  return {{"kind", port_kind_name(port.kind)},
          {"client", port.client},
          {"socket", port.socket},
          {"folder", port.folder},
          {"queues", port.queues},
          {"ringSize", port.ring_size},
          {"owner", port.owner},
          {"group", port.group},
          {"mode", port.mode}};
}

Result<PodPort> read_pod_port(const json& from) {
  PodPort port;
  std::string kind, error;
  cni::detail::Reader read(from, "port", error);
  read.text("kind", kind);
  read.truth("client", port.client);
  read.text("socket", port.socket);
  read.text("folder", port.folder);
  read.number("queues", port.queues);
  read.number("ringSize", port.ring_size);
  read.number("owner", port.owner);
  read.number("group", port.group);
  read.number("mode", port.mode);
  const auto known = port_kind_of(kind);
  const bool placed = port.socket.starts_with('@') || port.socket.starts_with('/');
  const bool within = port.folder.empty() || port.socket.starts_with(port.folder + "/");
  if (!error.empty() || !known || (*known != PortKind::tap && !placed) || !within) {
    return fail("port: is none");
  }
  port.kind = *known;
  return port;
}

json device_info(const PodPort& port) {
  if (port.kind == PortKind::tap) return nullptr;
  const char* type = port_kind_name(port.kind);
  json info{{"type", type}, {"version", "1.1.0"}};
  if (port.kind == PortKind::memif) {
    info[type] = {
        {"role", port.client ? "master" : "slave"}, {"path", port.socket}, {"mode", "ethernet"}};
  } else {
    info[type] = {{"mode", "server"}, {"path", port.socket}};
  }
  return info;
}

std::vector<PeerLine> peer_lines(const Attachment& attachment) {
  switch (attachment.kind.kind) {
    case PortKind::tap:
      return {};
    case PortKind::memif:
      return memif_lines(attachment);
    case PortKind::vhost_user:
      return vhost_lines(attachment);
  }
  return {};
}

}  // namespace podwire::control
