#include "control/cni/attacher.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "control/build/this_node.h"
#include "control/cni/asked.h"
#include "control/cni/port_kind.h"
#include "control/cni/port_socket.h"
#include "control/log.h"

namespace podwire::control {
namespace {

using cni::Code;
using cni::Reply;

tl::unexpected<Reply> refuse(Code code, std::string message) {
  return tl::unexpected<Reply>(Reply{code, std::move(message), nullptr});
}

std::string full_name(const cni::Request& request) {
  return request.pod_name.empty() ? "" : request.pod_namespace + "/" + request.pod_name;
}

cni::AttachmentName name_of(const Attachment& attachment) {
  return {attachment.container_id, attachment.interface};
}

std::string context(const Attachment& attachment) {
  std::string text = "container=" + attachment.container_id + " interface=" + attachment.interface;
  if (!attachment.pod.empty()) text += " pod=" + attachment.pod;
  for (const auto& ip : attachment.ips) text += " ip=" + ip.to_string();
  return text;
}

bool touches(const observe::FlowRow& row, const std::vector<net::Address>& ips) {
  return std::any_of(ips.begin(), ips.end(), [&](const net::Address& ip) {
    return row.source == ip || row.destination == ip || row.reply_source == ip ||
           row.reply_destination == ip;
  });
}

bool has_port_in(const tables::Snapshot* snapshot, const Attachment& attachment) {
  if (snapshot == nullptr) return false;
  const auto& ports = snapshot->ports->ports;
  return std::any_of(ports.begin(), ports.end(), [&](const tables::PortInfo& info) {
    return info.port != nullptr && info.port == attachment.port;
  });
}

PodSide pod_side(const Attachment& a) {
  return {a.netns, a.interface, a.mac, a.mtu, a.ips, a.routes};
}

}  // namespace

nlohmann::json cni_result(const Attachment& attachment) {
  nlohmann::json result;
  result["interfaces"] = {{{"name", attachment.interface},
                           {"mac", attachment.mac.to_string()},
                           {"mtu", attachment.mtu},
                           {"sandbox", attachment.netns}}};
  if (!attachment.kind.socket.empty()) {
    result["interfaces"][0]["socketPath"] = attachment.kind.socket;
  }
  result["ips"] = result["routes"] = nlohmann::json::array();
  for (const net::Address& ip : attachment.ips) {
    const char* gateway = ip.is_v4() ? kGatewayV4 : kGatewayV6;
    result["ips"].push_back(
        {{"address", net::Prefix::host(ip).to_string()}, {"gateway", gateway}, {"interface", 0}});
    if (!attachment.routes.empty()) continue;
    result["routes"].push_back({{"dst", ip.is_v4() ? "0.0.0.0/0" : "::/0"}, {"gw", gateway}});
  }
  for (const PodRoute& route : attachment.routes) {
    const bool v4 = route.to.address.is_v4();
    result["routes"].push_back(
        {{"dst", route.to.to_string()}, {"gw", v4 ? kGatewayV4 : kGatewayV6}});
    const std::pair<const char*, std::uint32_t> numbers[] = {{"mtu", route.mtu},
                                                             {"advmss", route.advmss},
                                                             {"priority", route.priority},
                                                             {"table", route.table}};
    for (const auto& [key, number] : numbers) {
      if (number != 0) result["routes"].back()[key] = number;
    }
  }
  result["dns"] = nlohmann::json::object();
  return result;
}

net::Mac pod_mac(const std::vector<net::Address>& ips) {
  net::Mac mac{{0x0a, 0x58, 0, 0, 0, 0}};
  for (const net::Address& ip : ips) {
    std::uint32_t low = 0;
    if (ip.is_v4()) {
      low = ip.v4().host();
    } else {
      // FNV-1a: the interesting bits of an IPv6 address may be anywhere.
      low = 2166136261U;
      for (const std::uint8_t byte : ip.bytes) low = (low ^ byte) * 16777619U;
    }
    for (unsigned i = 0; i < 4; ++i) {
      mac.bytes[2 + i] = static_cast<std::uint8_t>(low >> (24 - 8 * i));
    }
    if (ip.is_v4()) break;  // unlike a hash, an IPv4 address is nobody else's
  }
  return mac;
}

Attacher::Attacher(State& state, LoopHooks hooks)
    : Attacher(state, std::move(hooks), PodSideActions{}) {}

Attacher::Attacher(State& state, LoopHooks hooks, PodSideActions actions)
    : state_(state),
      hooks_(std::move(hooks)),
      actions_(std::move(actions)),
      records_(state.config.state_dir),
      addresses_(state, hooks_,
                 [this](const net::Address& ip) { return ipam_.taken(ip) || is_nodes_own(ip); }) {}

Result<void> Attacher::restore() {
  if (auto done = records_.prepare(); !done) return done;
  for (Attachment& attachment : records_.read_all(problems_)) {
    std::vector<net::Address> taken;
    for (const net::Address& ip : attachment.ips) {
      if (ipam_.take(ip)) taken.push_back(ip);
    }
    if (taken.size() != attachment.ips.size()) {
      release(taken);
      problems_.push_back("attachment " + attachment.container_id +
                          " names an address that another one has; remove that container");
      continue;
    }
    if (const auto done = open_port(attachment); !done) {
      log(LogLevel::warning, "pod is without its port until it is removed: " + done.error().message,
          context(attachment));
    }
    state_.attachments.push_back(std::move(attachment));
  }
  const auto restored = addresses_.restore(problems_);
  for (const std::string& problem : problems_) log(LogLevel::warning, problem);
  return restored;
}

void Attacher::carry_out_pending() {
  for (Records::Pending& pending : records_.read_pending(problems_)) {
    handle(std::move(pending.request), [file = pending.file](const Reply& reply) {
      if (reply.code == Code::ok) unlink(file.c_str());
    });
  }
}

void Attacher::begin(const Name& name, std::function<void()> job) {
  const auto [place, idle] = busy_.try_emplace(name);
  if (idle) {
    job();
  } else {
    place->second.push(std::move(job));
  }
}

void Attacher::end(const Name& name) {
  const auto found = busy_.find(name);
  if (found->second.empty()) {
    busy_.erase(found);
    return;
  }
  auto job = std::move(found->second.front());
  found->second.pop();
  job();
}

void Attacher::handle(cni::Request request, Done done) {
  if (request.command == "STATUS") return done(status(request));
  if (request.command == "GC") return collect_garbage(request, done);
  const Name name{request.container_id, request.interface};
  begin(name, [this, name, request = std::move(request), done = std::move(done)] {
    const Done finish = [this, name, done](Reply reply) {
      done(std::move(reply));
      end(name);
    };
    if (request.command == "ADD") {
      add(request, finish);
    } else if (request.command == "DEL") {
      remove(request, finish);
    } else {
      check_one(request, finish);
    }
  });
}

void Attacher::when_in_force(std::function<void()> job) {
  hooks_.when_in_force([alive = std::weak_ptr(alive_), job = std::move(job)] {
    if (!alive.expired()) job();
  });
}

Attachment* Attacher::find(const Name& name) {
  const auto found = std::find_if(state_.attachments.begin(), state_.attachments.end(),
                                  [&](const Attachment& a) { return name_of(a) == name; });
  return found == state_.attachments.end() ? nullptr : &*found;
}

tl::expected<const kube::Pod*, Reply> Attacher::pod_of(const cni::Request& request) const {
  if (!state_.store.synced) {
    return refuse(Code::try_later, "podwired has not read all objects yet");
  }
  if (request.pod_name.empty()) return nullptr;
  const std::string name = full_name(request);
  const auto found = state_.store.pods.find(name);
  if (found == state_.store.pods.end()) {
    return refuse(Code::try_later, "Pod " + name + " is not known to podwired yet");
  }
  const kube::Pod& pod = found->second;
  if (!pod.node_name.empty() && pod.node_name != state_.config.node_name) {
    return refuse(Code::pod_refused, "Pod " + name + ": spec.nodeName is " + pod.node_name +
                                         ", this node is " + state_.config.node_name);
  }
  if (pod.host_network) {
    return refuse(Code::pod_refused, "Pod " + name + ": spec.hostNetwork is true");
  }
  // A Pod of the same name that was made anew: its object is still to come.
  if (!request.pod_uid.empty() && !pod.meta.uid.empty() && request.pod_uid != pod.meta.uid) {
    return refuse(Code::try_later,
                  "Pod " + name + " with uid " + request.pod_uid + " is not known to podwired yet");
  }
  return &pod;
}

bool Attacher::is_nodes_own(const net::Address& ip) const {
  const auto node = state_.store.nodes.find(state_.config.node_name);
  if (node != state_.store.nodes.end() && node->second.tunnel_v4 == ip) return true;
  const auto& own = state_.linux_state.addresses;
  return std::any_of(own.begin(), own.end(),
                     [&](const LinuxAddress& a) { return a.address == ip; });
}

// Addresses that other Pods name for themselves.
std::set<net::Address> Attacher::reserved_for(const kube::Pod* pod) const {
  std::set<net::Address> reserved;
  const auto node = state_.store.nodes.find(state_.config.node_name);
  const auto is_ours = [&](const net::Address& ip) {
    const auto holds = [&](const net::Prefix& range) { return range.contains(ip); };
    return node != state_.store.nodes.end() &&
           std::any_of(node->second.pod_cidrs.begin(), node->second.pod_cidrs.end(), holds);
  };
  for (const auto& [name, other] : state_.store.pods) {
    if (&other == pod || other.finished || other.host_network) continue;
    const bool here = other.node_name == state_.config.node_name;
    for (const net::Address& ip : other.ips) {
      if (here || is_ours(ip)) reserved.insert(ip);
    }
  }
  return reserved;
}

tl::expected<std::vector<net::Address>, Reply> Attacher::take_named(const kube::Pod& pod) {
  std::vector<net::Address> taken;
  const auto refused = [&](Code code, const net::Address& ip, const std::string& why) {
    release(taken);
    return refuse(code, "Pod " + pod.meta.full_name() + ": address " + ip.to_string() + " " + why);
  };
  const auto node = state_.store.nodes.find(state_.config.node_name);
  for (const net::Address& ip : pod.ips) {
    const auto holds = [&](const net::Prefix& range) { return range.contains(ip); };
    const bool own =
        node != state_.store.nodes.end() &&
        std::any_of(node->second.pod_cidrs.begin(), node->second.pod_cidrs.end(), holds);
    const bool pooled = std::any_of(
        state_.store.ip_pools.begin(), state_.store.ip_pools.end(),
        [&](const auto& pool) { return !pool.second.disabled && holds(pool.second.cidr); });
    if (!own && !pooled) {
      return refused(Code::address_refused, ip,
                     "is neither in this node's podCIDRs nor in an IPPool");
    }
    if (is_nodes_own(ip)) return refused(Code::address_refused, ip, "is the node's own");
    if (!ipam_.take(ip)) return refused(Code::address_refused, ip, "is taken by another pod");
    taken.push_back(ip);
  }
  return taken;
}

tl::expected<std::vector<net::Address>, Reply> Attacher::take_free(const kube::Pod* pod) {
  const std::string& name = state_.config.node_name;
  if (!state_.store.nodes.contains(name)) {
    return refuse(Code::try_later, "Node " + name + " is not known to podwired yet");
  }
  const auto wishes = read_wishes(pod, state_.store);
  if (!wishes) return refuse(Code::address_refused, wishes.error().message);
  const auto reserved = reserved_for(pod);
  const auto is_reserved = [&](const net::Address& ip) {
    return reserved.contains(ip) || is_nodes_own(ip);
  };
  std::vector<net::Address> taken;
  for (const net::Family family : {net::Family::v4, net::Family::v6}) {
    const auto ranges =
        ranges_for(state_.store, name, pod == nullptr ? "" : pod->meta.ns, family, *wishes);
    std::optional<net::Address> ip;
    std::string full;
    if (ranges) {
      for (const net::Prefix& range : *ranges) {
        if (!ip) ip = ipam_.take_next(range, is_reserved);
        full += " " + range.to_string();
      }
      if (ip) taken.push_back(*ip);
      if (ip || ranges->empty()) continue;
    }
    release(taken);
    return ranges ? refuse(Code::try_later, "Node " + name + ": no free address is left in" + full)
                  : refuse(Code::address_refused, ranges.error().message);
  }
  if (!taken.empty()) return taken;
  const bool none = state_.store.nodes.at(name).pod_cidrs.empty();
  return refuse(Code::try_later, "Node " + name +
                                     (none ? ": spec.podCIDRs is empty"
                                           : ": no IPPool around spec.podCIDRs is for this pod"));
}

tl::expected<std::vector<net::Address>, Reply> Attacher::take_addresses(const kube::Pod* pod) {
  if (pod == nullptr || pod->ips.empty()) return take_free(pod);
  // A pod's new sandbox while the old one is still there: status names the old one's address.
  const bool asked_for = pod->meta.annotations.contains("cni.projectcalico.org/ipAddrs");
  const bool old_sandbox = std::any_of(
      state_.attachments.begin(), state_.attachments.end(),
      [&](const Attachment& a) { return a.pod == pod->meta.full_name() && a.ips == pod->ips; });
  return old_sandbox && !asked_for ? take_free(pod) : take_named(*pod);
}

bool Attacher::is_another(const cni::Request& request) const {
  return std::any_of(state_.attachments.begin(), state_.attachments.end(),
                     [&](const Attachment& a) { return a.container_id == request.container_id; });
}

tl::expected<std::vector<net::Address>, Reply> Attacher::take_for(const cni::Request& request,
                                                                  const kube::Pod* pod) {
  const auto asked = asked_addresses(request.wishes);
  if (!asked) return refuse(Code::config, asked.error().message);
  if (asked->empty()) {
    return is_another(request) ? take_free(pod) : take_addresses(pod);
  }
  if (!request.wishes.delegated) {
    kube::Pod with_ips;
    if (pod != nullptr) with_ips.meta = pod->meta;
    with_ips.ips = *asked;
    return take_named(with_ips);
  }
  for (std::size_t i = 0; i < asked->size(); ++i) {
    if (ipam_.take((*asked)[i])) continue;
    for (std::size_t taken = 0; taken < i; ++taken) ipam_.release((*asked)[taken]);
    return refuse(Code::try_later,
                  "address " + (*asked)[i].to_string() + " is taken by another pod still");
  }
  return *asked;
}

tl::expected<void, Reply> Attacher::choose_kind(const cni::Request& request, const kube::Pod* pod,
                                                Attachment& fresh) const {
  cni::PortWish wish = request.wishes.port;
  if (pod != nullptr) {
    auto own = with_annotations(wish, pod->meta.annotations, fresh);
    if (!own) return refuse(Code::pod_refused, "Pod " + fresh.pod + ": " + own.error().message);
    wish = std::move(*own);
  }
  const std::string& uid = request.pod_uid;
  const PortPlace place{.folder = state_.config.run_dir + "/ports/",
                        .pod = cni::is_container_id(uid) ? uid : fresh.container_id,
                        .interface = fresh.interface};
  const auto chosen = choose_port(wish, place);
  if (!chosen) return refuse(Code::config, chosen.error().message);
  fresh.kind = *chosen;
  if (const std::string& device = request.wishes.device;
      fresh.kind.kind == PortKind::tap && !device.empty()) {
    return refuse(Code::unsupported_field,
                  "deviceID: \"" + device + "\" has no meaning: a tap is no device of the node");
  }
  if (const auto good = check_socket_place(fresh.kind); !good) {
    return refuse(Code::config, good.error().message);
  }
  if (wish.mtu != 0) fresh.mtu = wish.mtu;
  for (const Attachment& other : state_.attachments) {
    const std::string& socket = fresh.kind.socket;
    if (socket.empty() || socket != other.kind.socket) continue;
    if (socket.starts_with('@') && fresh.netns != other.netns) continue;
    return refuse(Code::try_later, "port.socket: " + socket + " is taken by " +
                                       (other.pod.empty() ? other.container_id : other.pod) + "/" +
                                       other.interface);
  }
  return {};
}

tl::expected<Attachment, Reply> Attacher::draft(const cni::Request& request,
                                                const kube::Pod* pod) const {
  Attachment fresh;
  fresh.container_id = request.container_id;
  fresh.interface = request.interface;
  fresh.network = request.network;
  fresh.netns = request.netns;
  fresh.pod = full_name(request);
  fresh.mtu = build::pod_mtu(state_.config, state_.store, state_.linux_state);
  fresh.wishes = request.wishes;
  if (const auto done = carry_over(request.wishes, fresh); !done) {
    return refuse(Code::config, done.error().message);
  }
  if (auto chosen = choose_kind(request, pod, fresh); !chosen) {
    return tl::unexpected(chosen.error());
  }
  for (const Attachment& other : state_.attachments) {
    for (const HostPort& theirs : other.host_ports) {
      for (const HostPort& ours : fresh.host_ports) {
        if (apart(ours, theirs)) continue;
        return refuse(Code::try_later, "hostPort " + to_string(ours) + " is taken by pod " +
                                           (other.pod.empty() ? other.container_id : other.pod));
      }
    }
  }
  return fresh;
}

void Attacher::release(const std::vector<net::Address>& addresses) {
  for (const net::Address& address : addresses) ipam_.release(address);
}

// A tap's other end is a device in the namespace. The others are down whenever nobody uses them.
bool Attacher::is_dead(const Attachment& attachment) {
  if (attachment.port == nullptr) return true;
  if (attachment.kind.kind == PortKind::tap) return !attachment.port->up();
  return access(attachment.netns.c_str(), F_OK) != 0;
}

Result<void> Attacher::open_port(Attachment& attachment) {
  if (attachment.limits == nullptr) {
    attachment.limits =
        limits_of(attachment.wishes.bandwidth, state_.dataplane.cycles_per_second());
  }
  if (attachment.kind.kind != PortKind::tap) {
    auto port = open_socket_port(state_.dataplane, attachment);
    if (!port) return tl::unexpected(port.error());
    attachment.port = std::move(*port);
    return {};
  }
  auto port = state_.dataplane.open_tap(
      {attachment.netns, attachment.interface, attachment.mac, attachment.mtu, true});
  if (!port) return tl::unexpected(port.error());
  if (auto done = actions_.set_up(pod_side(attachment)); !done) {
    port->reset();
    (void)state_.dataplane.remove_tap(attachment.netns, attachment.interface);
    return done;
  }
  attachment.port = std::move(*port);
  return {};
}

// Of an attachment that is in nobody's sight yet.
void Attacher::undo(Attachment&& attachment) {
  // The note first: without record and note nobody would know of its addresses after a crash.
  const bool of_blocks = !attachment.handle.empty();
  if (of_blocks) note_addresses(attachment);
  if (const auto done = records_.remove(attachment); !done) {
    log(LogLevel::warning, done.error().message);
  }
  release(attachment.ips);
  if (of_blocks) {
    addresses_.give_back(name_of(attachment), attachment.handle, attachment.ips, nullptr);
  }
}

void Attacher::note_addresses(const Attachment& attachment) {
  const auto noted = addresses_.note(attachment);
  if (!noted) log(LogLevel::warning, noted.error().message, context(attachment));
}

void Attacher::add(const cni::Request& request, const Done& done) {
  const Name name{request.container_id, request.interface};
  if (Attachment* old = find(name)) {
    old->netns = request.netns;
    if (is_dead(*old)) {
      old->port = nullptr;
      if (const auto opened = open_port(*old); !opened) {
        return done({Code::try_later, opened.error().message, nullptr});
      }
    }
    hooks_.attachments_changed();
    return reply_in_force(name, done);
  }
  const auto pod = pod_of(request);
  if (!pod) return done(pod.error());
  // A sandbox of the same Pod whose namespace is gone makes room: its address may be the Pod's only
  // one, and nobody can answer for it any more.
  for (const Attachment& old : state_.attachments) {
    if (old.pod.empty() || old.pod != full_name(request) || !is_dead(old)) continue;
    return forget(name_of(old), [this, request, done](const Reply&) { add(request, done); });
  }
  auto drafted = draft(request, *pod);
  if (!drafted) return done(drafted.error());
  if (!request.wishes.delegated && addresses_.from_blocks()) {
    return add_from_blocks(request, *pod, done);
  }
  auto ips = take_for(request, *pod);
  if (!ips) return done(ips.error());
  drafted->ips = std::move(*ips);
  attach(std::move(*drafted), done);
}

void Attacher::add_from_blocks(const cni::Request& request, const kube::Pod* pod,
                               const Done& done) {
  const Name name{request.container_id, request.interface};
  const auto asked = asked_addresses(request.wishes);
  if (!asked) return done({Code::config, asked.error().message, nullptr});
  const auto taken = [this, request, name, done, alive = std::weak_ptr(alive_)](auto ips) {
    if (alive.expired()) return;
    if (!ips) return done(ips.error());
    const std::string handle = Addresses::handle_of(request.network, name);
    // Again: another may have its hostPort by now, and the Pod may be another or gone.
    const auto now = pod_of(request);
    auto drafted = now ? draft(request, *now) : tl::unexpected(now.error());
    if (!drafted) {
      addresses_.give_back(name, handle, *ips, nullptr);
      return done(drafted.error());
    }
    for (const net::Address& ip : *ips) ipam_.take(ip);
    drafted->ips = std::move(*ips);
    drafted->handle = handle;
    attach(std::move(*drafted), done);
  };
  addresses_.take({name, request.network, pod, *asked, is_another(request)}, taken);
}

void Attacher::attach(Attachment&& fresh, const Done& done) {
  if (fresh.mac.is_zero()) fresh.mac = pod_mac(fresh.ips);
  // The record first: whatever happens from here on, the address cannot be given out twice.
  if (const auto written = records_.write(fresh); !written) {
    undo(std::move(fresh));
    return done({Code::io, written.error().message, nullptr});
  }
  if (const auto opened = open_port(fresh); !opened) {
    undo(std::move(fresh));
    return done({Code::try_later, opened.error().message, nullptr});
  }
  const Name name = name_of(fresh);
  const std::string record = records_.path_of(fresh);
  const bool of_blocks = !fresh.handle.empty();
  state_.attachments.push_back(std::move(fresh));
  hooks_.attachments_changed();
  sync_record(record, [this, name, of_blocks, done](const Result<void>& synced) {
    if (synced && of_blocks) addresses_.settled(name);
    if (synced) return reply_in_force(name, done);
    forget(name, [done, message = synced.error().message](const Reply&) {
      done({Code::io, message, nullptr});
    });
  });
}

// A disk takes milliseconds, for one record as for many: those that come meanwhile go together.
void Attacher::sync_record(const std::string& path, Synced then) {
  unsynced_.emplace_back(path, std::move(then));
  if (!syncing_) sync_records_waiting();
}

void Attacher::sync_records_waiting() {
  syncing_ = true;
  struct Batch {
    std::vector<std::string> paths;
    std::vector<Synced> told;
    std::vector<Result<void>> results;
  };
  const auto batch = std::make_shared<Batch>();
  for (auto& [path, then] : std::exchange(unsynced_, {})) {
    batch->paths.push_back(std::move(path));
    batch->told.push_back(std::move(then));
  }
  elsewhere([batch] { batch->results = sync_records(batch->paths); },
            [this, batch] {
              syncing_ = false;
              if (!unsynced_.empty()) sync_records_waiting();
              for (std::size_t i = 0; i < batch->told.size(); ++i) {
                batch->told[i](batch->results[i]);
              }
            });
}

void Attacher::elsewhere(std::function<void()> job, std::function<void()> then) {
  if (hooks_.elsewhere == nullptr) {
    job();
    return then();
  }
  hooks_.elsewhere(std::move(job), [alive = std::weak_ptr(alive_), then = std::move(then)] {
    if (!alive.expired()) then();
  });
}

void Attacher::reply_in_force(const Name& name, const Done& done) {
  when_in_force([this, name, done] {
    const Attachment* attachment = find(name);  // its own DEL waits for us
    if (attachment == nullptr) {
      return done({Code::try_later, "another sandbox of the Pod took its place", nullptr});
    }
    if (has_port_in(state_.snapshot, *attachment)) {
      log(LogLevel::info, "pod attached", context(*attachment));
      return done({Code::ok, "", cni_result(*attachment), device_info(attachment->kind)});
    }
    forget(name, [done](const Reply&) {
      done({Code::try_later, "the port table is full; see podwirectl status", nullptr});
    });
  });
}

void Attacher::remove(const cni::Request& request, const Done& done) {
  const Name name{request.container_id, request.interface};
  if (find(name) != nullptr) return forget(name, done);
  // A record may still lie there that a DEL before this one could not remove.
  Attachment unknown;
  unknown.container_id = request.container_id;
  unknown.interface = request.interface;
  const auto removed = records_.remove(unknown);
  const Reply reply = removed ? Reply{} : Reply{Code::io, removed.error().message, nullptr};
  if (!removed || request.network.empty() || !addresses_.from_blocks()) return done(reply);
  // Of an ADD that was cut off, or of Calico's own plugin.
  addresses_.give_back(name, Addresses::handle_of(request.network, name), {},
                       [done, reply] { done(reply); });
}

void Attacher::forget(const Name& name, const Done& done) {
  auto& all = state_.attachments;
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Attachment& a) { return name_of(a) == name; });
  if (found == all.end()) return done({});
  const auto attachment = std::make_shared<Attachment>(std::move(*found));
  all.erase(found);
  hooks_.attachments_changed();
  // Only when no worker sees the port may its address become somebody else's.
  when_in_force([this, attachment, done] {
    hooks_.end_flows(
        [attachment](const observe::FlowRow& row) { return touches(row, attachment->ips); },
        [this, attachment, done] {
          end_port(attachment, [this, attachment, done] { finish_forgetting(*attachment, done); });
        });
  });
}

// Of an attachment that nobody sees any more. A tap ends by its device, the others with their last
// owner, which is this.
void Attacher::end_port(const std::shared_ptr<Attachment>& attachment, std::function<void()> then) {
  if (attachment->kind.kind != PortKind::tap) {
    attachment->port = nullptr;
    const auto closed = close_socket_port(attachment->kind, state_.attachments);
    if (!closed) log(LogLevel::warning, closed.error().message, context(*attachment));
    return then();
  }
  const PodSide side = pod_side(*attachment);
  if (side.netns.empty() || access(side.netns.c_str(), F_OK) != 0) return then();
  const auto removed = std::make_shared<Result<void>>();
  elsewhere(
      [side, removed, clear = actions_.clear, &dataplane = state_.dataplane] {
        clear(side);
        *removed = dataplane.remove_tap(side.netns, side.interface);
      },
      [attachment, removed, then = std::move(then)] {
        if (!*removed) log(LogLevel::warning, removed->error().message, context(*attachment));
        then();
      });
}

void Attacher::finish_forgetting(const Attachment& attachment, const Done& done) {
  if (!attachment.handle.empty()) note_addresses(attachment);
  const auto removed = records_.remove(attachment);
  release(attachment.ips);
  log(LogLevel::info, "pod removed", context(attachment));
  const Reply reply = removed ? Reply{} : Reply{Code::io, removed.error().message, nullptr};
  // While the record stands, a restart would bring the pod back with its addresses.
  if (!removed || attachment.handle.empty()) return done(reply);
  addresses_.give_back(name_of(attachment), attachment.handle, attachment.ips,
                       [done, reply] { done(reply); });
}

void Attacher::check_one(const cni::Request& request, const Done& done) {
  const Attachment* attachment = find({request.container_id, request.interface});
  if (attachment == nullptr) {
    return done({Code::unknown_container,
                 "container " + request.container_id + " has no attachment " + request.interface,
                 nullptr});
  }
  if (is_dead(*attachment) || !has_port_in(state_.snapshot, *attachment)) {
    return done({Code::check_failed, request.interface + ": podwired has no port for it", nullptr});
  }
  for (const std::string& expected : request.addresses) {
    const auto prefix = net::Prefix::parse(expected);
    const auto& ips = attachment->ips;
    if (!prefix || std::find(ips.begin(), ips.end(), prefix->address) == ips.end()) {
      return done({Code::check_failed,
                   "prevResult names address " + expected + ", which this attachment has not",
                   nullptr});
    }
  }
  const auto checked = attachment->kind.kind == PortKind::tap
                           ? actions_.check(pod_side(*attachment))
                           : check_socket_port(*attachment);
  done(checked ? Reply{} : Reply{Code::check_failed, checked.error().message, nullptr});
}

void Attacher::collect_garbage(const cni::Request& request, const Done& done) {
  struct Progress {
    std::size_t left = 1;  // one for the loop below
    Reply reply;
  };
  const auto progress = std::make_shared<Progress>();
  const auto one_done = [progress, done](const Reply& reply) {
    if (reply.code != Code::ok) progress->reply = reply;
    if (--progress->left == 0) done(progress->reply);
  };
  std::vector<cni::Request> stale;
  for (const Attachment& attachment : state_.attachments) {
    const auto& valid = request.valid;
    if (attachment.network != request.network ||
        std::find(valid.begin(), valid.end(), name_of(attachment)) != valid.end()) {
      continue;
    }
    cni::Request removal;
    removal.command = "DEL";
    removal.container_id = attachment.container_id;
    removal.interface = attachment.interface;
    stale.push_back(std::move(removal));
  }
  progress->left += stale.size();
  for (cni::Request& removal : stale) handle(std::move(removal), one_done);
  one_done({});
}

Reply Attacher::status(const cni::Request& request) {
  if (!state_.store.synced) {
    return {Code::not_available, "podwired has not read all objects yet", nullptr};
  }
  if (request.wishes.delegated) return {};  // whether there are addresses, another knows
  if (addresses_.from_blocks()) return {};
  const auto node = state_.store.nodes.find(state_.config.node_name);
  if (node == state_.store.nodes.end() || node->second.pod_cidrs.empty()) {
    return {Code::not_available,
            "Node " + state_.config.node_name + " is not known or has no podCIDRs", nullptr};
  }
  const auto reserved = reserved_for(nullptr);
  const auto& ranges = node->second.pod_cidrs;
  for (const net::Prefix& wanted : ranges) {
    const bool free = std::any_of(ranges.begin(), ranges.end(), [&](const net::Prefix& range) {
      return range.family() == wanted.family() &&
             ipam_.next(range, [&](const net::Address& ip) { return reserved.contains(ip); });
    });
    if (!free) {
      return {Code::not_available, "no free address is left in " + wanted.to_string(), nullptr};
    }
  }
  return {};
}

}  // namespace podwire::control
