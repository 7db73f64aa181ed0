// Who this node speaks BGP with: the node mesh, and BGPPeers. What confd decides in its
// bgp_processor.go and templates.
#include <algorithm>
#include <tuple>

#include "control/bgp/intent.h"

namespace podwire::control::bgp {
namespace {

using build::Problem;
using kube::BgpPeer;
using kube::Node;

constexpr std::size_t kLongestPassword = 80;  // linux/tcp.h TCP_MD5SIG_MAXKEYLEN

// "10_0_0_2": BIRD's symbols have no dots and colons without quotes.
std::string symbol_of(const net::Address& address) {
  std::string text = address.to_string();
  std::ranges::replace_if(
      text, [](char c) { return c == '.' || c == ':'; }, '_');
  return text;
}

bool selects(const std::optional<kube::CalicoSelector>& selector, const Node& node) {
  return selector && selector->matches(node.meta.labels);
}

class Peers {
 public:
  Peers(const IntentInputs& inputs, const Node& self, Intent& intent,
        std::vector<Problem>& problems)
      : store_(inputs.store),
        inputs_(inputs),
        self_(self),
        intent_(intent),
        problems_(problems),
        cluster_(cluster_configuration(inputs.store)) {}

  void add_all();

 private:
  void add_object(const BgpPeer& object);
  void add_address(const BgpPeer& object);
  void add_node(const BgpPeer& object, const Node& node);
  void add_mesh();
  Peer fill(const BgpPeer& object, const net::Address& address, const Node* node);
  void add(Peer peer, const BgpPeer* object);

  // Whether the object's nodes are these: all of them when it says nothing.
  [[nodiscard]] static bool is_for(const BgpPeer& object, const Node& node) {
    if (!object.node.empty()) return object.node == node.meta.name;
    return !object.node_selector || selects(object.node_selector, node);
  }
  [[nodiscard]] std::uint32_t as_number_of(const Node& node) const {
    if (node.as_number != 0) return node.as_number;
    return cluster_ != nullptr && cluster_->as_number != 0 ? cluster_->as_number : kDefaultAsNumber;
  }
  [[nodiscard]] std::uint16_t port_of(const Node& node) const {
    for (const auto* one : {node_configuration(store_, node.meta.name), cluster_}) {
      if (one != nullptr && one->listen_port != 0) return one->listen_port;
    }
    return kBgpPort;
  }
  [[nodiscard]] const Node* node_at(const net::Address& address) const;
  // Of two nodes one waits for the other; Calico compares the addresses as text.
  [[nodiscard]] static bool waits(const net::Address& own, const net::Address& other) {
    return other.to_string() > own.to_string();
  }
  [[nodiscard]] bool on_own_network(const net::Address& address) const;
  std::optional<std::string> password(const kube::SecretKey& key, const std::string& object,
                                      const char* field);

  const Store& store_;
  const IntentInputs& inputs_;
  const Node& self_;
  Intent& intent_;
  std::vector<Problem>& problems_;
  const kube::BgpConfiguration* cluster_;
  std::map<std::pair<net::Address, std::uint16_t>, const BgpPeer*> taken_;
};

const Node* Peers::node_at(const net::Address& address) const {
  for (const auto& [name, node] : store_.nodes) {
    if (bgp_address(node, address.family()) == address) return &node;
  }
  return nullptr;
}

bool Peers::on_own_network(const net::Address& address) const {
  return std::ranges::any_of(inputs_.linux_state.host_tap_addresses, [&](const LinuxAddress& own) {
    return !own.address.is_link_local() && own.subnet().contains(address);
  });
}

std::optional<std::string> Peers::password(const kube::SecretKey& key, const std::string& object,
                                           const char* field) {
  const std::string name = std::string(kube::kSecretNamespace) + "/" + key.name;
  const auto secret = store_.secrets.find(name);
  std::string sentence;
  if (secret == store_.secrets.end()) {
    sentence = "there is no Secret " + name;
  } else if (const auto value = secret->second.values.find(key.key);
             value == secret->second.values.end()) {
    sentence = "Secret " + name + " has no key " + key.key;
  } else if (value->second.empty() || value->second.size() > kLongestPassword ||
             std::ranges::any_of(value->second, [](char c) { return c < ' ' || c == '"'; })) {
    sentence = "key " + key.key + " of Secret " + name +
               " is empty, longer than 80 bytes, or has a quote, a line break or what is not ASCII "
               "in it";
  } else {
    return value->second;
  }
  problems_.push_back(
      {object, std::string(field) + ": " + sentence + "; the peering waits for it"});
  return std::nullopt;
}

// The first that names a peer has it, so that the stronger are added first.
void Peers::add(Peer peer, const BgpPeer* object) {
  const auto [place, added] = taken_.try_emplace({peer.address, peer.port}, object);
  if (added) {
    intent_.peers.push_back(std::move(peer));
    return;
  }
  const BgpPeer* const other = place->second;
  if (object != nullptr && other != nullptr && other != object && object->peer_ip &&
      other->peer_ip) {
    problems_.push_back({"BGPPeer " + object->meta.name, "peers with " + peer.address.to_string() +
                                                             ", which BGPPeer " + other->meta.name +
                                                             " does too and keeps"});
  }
}

Peer Peers::fill(const BgpPeer& object, const net::Address& address, const Node* node) {
  Peer peer;
  peer.object = "BGPPeer " + object.meta.name;
  peer.address = address;
  if (node != nullptr) peer.node = node->meta.name;
  peer.local_as_number = object.local_as_number != 0 ? object.local_as_number : intent_.as_number;
  if (object.source_address) peer.source = bgp_address(self_, address.family());
  peer.bfd = object.bfd && on_own_network(address);
  peer.direct = peer.bfd;
  peer.keepalive_seconds = object.keepalive_seconds;
  peer.restart_seconds = object.restart_seconds;
  peer.ttl_security_hops = object.ttl_security_hops;
  peer.allowed_local_as = object.allowed_local_as;
  peer.reachable_by = object.reachable_by;
  for (const std::string& name : object.filters) {
    if (const auto filter = store_.bgp_filters.find(name); filter != store_.bgp_filters.end()) {
      intent_.filters.insert(*filter);
      peer.filters.push_back(name);
      continue;
    }
    peer.closed = true;
    problems_.push_back({peer.object, "spec.filters: there is no BGPFilter " + name +
                                          "; no route passes until there is"});
  }
  return peer;
}

// What depends on the AS numbers, which are known now.
void finish(const Intent& intent, const BgpPeer& object, const Node* node, Peer& peer) {
  peer.next_hop = object.next_hop;
  if (object.keep_original_next_hop && peer.external()) peer.next_hop = BgpPeer::NextHop::keep;
  peer.reflector_client = intent.reflector && !peer.external() &&
                          (node == nullptr || node->reflector != intent.reflector);
}

void Peers::add_address(const BgpPeer& object) {
  const net::Address& address = *object.peer_ip;
  const Node* const node = node_at(address);
  if (node == &self_) return;  // a BGPPeer for all nodes may name one of them
  if (!bgp_address(self_, address.family())) return;
  Peer peer = fill(object, address, node);
  peer.name =
      (object.node.empty() && !object.node_selector ? "Global_" : "Node_") + symbol_of(address);
  peer.as_number = object.as_number;
  if (object.peer_port != 0) {
    peer.port = object.peer_port;
    peer.name += "_port_" + std::to_string(peer.port);
  } else if (node != nullptr && as_number_of(*node) == object.as_number) {
    peer.port = port_of(*node);
  }
  finish(intent_, object, node, peer);
  if (object.password) {
    peer.password = password(*object.password, peer.object, "spec.password");
    if (!peer.password) return;
  }
  add(std::move(peer), &object);
}

void Peers::add_node(const BgpPeer& object, const Node& node) {
  for (const net::Family family : net::kFamilies) {
    const auto own = bgp_address(self_, family), other = bgp_address(node, family);
    if (!own || !other) continue;
    Peer peer = fill(object, *other, &node);
    peer.name = "Node_" + symbol_of(*other);
    peer.as_number = as_number_of(node);
    peer.port = port_of(node);
    peer.passive = object.reverse && waits(*own, *other);
    finish(intent_, object, &node, peer);
    if (object.password) {
      peer.password = password(*object.password, peer.object, "spec.password");
      if (!peer.password) return;
    }
    add(std::move(peer), &object);
  }
}

void Peers::add_object(const BgpPeer& object) {
  const bool here = is_for(object, self_);
  if (object.peer_ip) {
    if (here) add_address(object);
    return;
  }
  const bool selected = selects(object.peer_selector, self_);
  for (const auto& [name, node] : store_.nodes) {
    if (&node == &self_) continue;
    const bool forwards = here && selects(object.peer_selector, node);
    const bool backwards = object.reverse && selected && is_for(object, node);
    if (forwards || backwards) add_node(object, node);
  }
}

// A route reflector speaks with those that BGPPeers name alone, and is not in the mesh of others.
void Peers::add_mesh() {
  const bool enabled = cluster_ == nullptr || cluster_->node_mesh.value_or(true);
  if (!enabled || self_.reflector) return;
  std::optional<std::string> secret;
  if (cluster_ != nullptr && cluster_->mesh_password) {
    secret =
        password(*cluster_->mesh_password, "BGPConfiguration default", "spec.nodeMeshPassword");
    if (!secret) return;
  }
  for (const auto& [name, node] : store_.nodes) {
    if (&node == &self_ || node.reflector) continue;
    for (const net::Family family : net::kFamilies) {
      const auto own = bgp_address(self_, family), other = bgp_address(node, family);
      if (!own || !other || *own == *other) continue;
      Peer peer;
      peer.name = "Mesh_" + symbol_of(*other);
      peer.object = "node mesh";
      peer.node = name;
      peer.address = *other;
      peer.port = port_of(node);
      peer.as_number = as_number_of(node);
      peer.local_as_number = intent_.as_number;
      peer.source = own;
      peer.passive = waits(*own, *other);
      peer.password = secret;
      peer.bfd = peer.direct = inputs_.config.bgp_mesh_bfd && on_own_network(*other);
      if (cluster_ != nullptr) peer.restart_seconds = cluster_->mesh_restart_seconds;
      add(std::move(peer), nullptr);
    }
  }
}

void Peers::add_all() {
  // Those that name this node, then those that select it, then those for all, then the mesh.
  const auto rank = [](const BgpPeer& object) {
    return object.node.empty() ? (!object.node_selector ? 2 : 1) : 0;
  };
  for (int now = 0; now <= 2; ++now) {
    for (const auto& [name, object] : store_.bgp_peers) {
      if (rank(object) == now) add_object(object);
    }
  }
  add_mesh();
  std::ranges::sort(intent_.peers, {}, &Peer::name);
}

}  // namespace

void add_peers(const IntentInputs& inputs, const Node& self, Intent& intent,
               std::vector<Problem>& problems) {
  Peers(inputs, self, intent, problems).add_all();
}

}  // namespace podwire::control::bgp
