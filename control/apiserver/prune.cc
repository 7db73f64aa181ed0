// One pass over an object's text, which is written over itself. A wanted field that is named here
// by mistake would never be seen, so the list holds only what is large and means nothing to a
// network: tests/unit/control/apiserver/json_stream_test.cc compares what is decoded with and
// without.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "control/apiserver/json_stream.h"

namespace podwire::control::apiserver {
namespace {

constexpr std::size_t kMaxDepth = 64;

// The nearest named value around a member; lists have no names of their own.
enum class In : unsigned char {
  other,
  metadata,
  annotations,
  spec,
  status,
  containers,
  init_containers,
};
constexpr std::array<std::string_view, 7> kIn{"",       "metadata",   "annotations",   "spec",
                                              "status", "containers", "initContainers"};

struct Member {
  In in;
  std::string_view name;
};
constexpr std::array kPruned{
    Member{In::metadata, "managedFields"},
    Member{In::metadata, "ownerReferences"},
    Member{In::annotations, "kubectl.kubernetes.io/last-applied-configuration"},
    Member{In::annotations, "cni.projectcalico.org/containerID"},
    Member{In::annotations, "cni.projectcalico.org/podIP"},
    Member{In::annotations, "cni.projectcalico.org/podIPs"},
    Member{In::annotations, "k8s.v1.cni.cncf.io/network-status"},
    Member{In::annotations, "control-plane.alpha.kubernetes.io/leader"},
    // Pod
    Member{In::spec, "volumes"},
    Member{In::spec, "tolerations"},
    Member{In::spec, "affinity"},
    Member{In::spec, "topologySpreadConstraints"},
    Member{In::spec, "ephemeralContainers"},
    Member{In::status, "containerStatuses"},
    Member{In::status, "initContainerStatuses"},
    Member{In::status, "ephemeralContainerStatuses"},
    // Node
    Member{In::status, "images"},
    Member{In::status, "volumesInUse"},
    Member{In::status, "volumesAttached"},
    Member{In::status, "nodeInfo"},
    Member{In::status, "capacity"},
    Member{In::status, "allocatable"},
};
// Of a Pod's containers.
constexpr std::array<std::string_view, 11> kPrunedOfContainers{
    "env",       "envFrom",       "volumeMounts",   "resources",    "command",        "args",
    "lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "securityContext"};

In in_of(std::string_view name) {
  const auto* const found = std::ranges::find(kIn, name);
  return found == kIn.end() ? In::other : static_cast<In>(found - kIn.begin());
}

bool is_pruned(In in, std::string_view name) {
  if (in == In::other) return false;
  if (in == In::containers || in == In::init_containers) {
    return std::ranges::find(kPrunedOfContainers, name) != kPrunedOfContainers.end();
  }
  return std::ranges::any_of(
      kPruned, [&](const Member& member) { return member.in == in && member.name == name; });
}

class Pruner {
 public:
  explicit Pruner(std::string& text)
      : text_(text), at_(text.data()), end_(at_ + text.size()), kept_(at_), out_(at_) {}

  bool run() {
    while (at_ != end_) {
      if (!step()) return false;
    }
    keep(end_);
    text_.resize(static_cast<std::size_t>(out_ - text_.data()));
    return true;
  }

 private:
  struct Frame {
    bool map = false;
    bool wants_key = false;
    bool any_kept = false;
    char* comma = nullptr;  // in front of the member that comes
    In in = In::other;
  };

  bool step();
  void member();
  void skip_string();
  void skip_value();
  // Everything up to there stays.
  void keep(char* until) {
    const auto count = static_cast<std::size_t>(until - kept_);
    if (out_ != kept_) std::memmove(out_, kept_, count);
    out_ += count;
    kept_ = until;
  }

  std::string& text_;
  char* at_;
  char* end_;
  char* kept_;  // from here on nothing is decided
  char* out_;
  In in_ = In::other;  // what the value that comes stands under
  std::vector<Frame> frames_;
};

void Pruner::skip_string() {
  for (++at_; at_ != end_ && *at_ != '"'; ++at_) {
    if (*at_ == '\\' && at_ + 1 != end_) ++at_;
  }
  if (at_ != end_) ++at_;
}

void Pruner::skip_value() {
  std::size_t depth = 0;
  while (at_ != end_) {
    const char c = *at_;
    if (c == '"') {
      skip_string();
      if (depth == 0) return;
      continue;
    }
    if (depth == 0 && (c == ',' || c == '}')) return;
    if (c == '{' || c == '[') ++depth;
    ++at_;
    if ((c == '}' || c == ']') && --depth == 0) return;
  }
}

// At the quote that opens a member's name.
void Pruner::member() {
  char* const begin = at_;
  skip_string();
  const std::string_view name(begin + 1,
                              static_cast<std::size_t>(at_ - begin) - (at_ - begin >= 2 ? 2 : 1));
  Frame& frame = frames_.back();
  frame.wants_key = false;
  // A Pod's affinity is large; that of an IPAMBlock is a text, and wanted.
  char* value = at_;
  while (value != end_ && (*value == ':' || *value == ' ')) ++value;
  const bool text = frame.in == In::spec && value != end_ && *value == '"';
  if (text || !is_pruned(frame.in, name)) {
    frame.any_kept = true;
    in_ = in_of(name);
    return;
  }
  keep(frame.any_kept && frame.comma != nullptr ? frame.comma : begin);
  at_ = std::find(at_, end_, ':');
  while (at_ != end_ && (*at_ == ':' || *at_ == ' ')) ++at_;
  skip_value();
  kept_ = at_;
}

bool Pruner::step() {
  const char c = *at_;
  if (c == '"') {
    if (!frames_.empty() && frames_.back().map && frames_.back().wants_key) {
      member();
    } else {
      skip_string();
    }
    return true;
  }
  if (c == '{' || c == '[') {
    if (frames_.size() == kMaxDepth) return false;
    frames_.push_back(
        {.map = c == '{', .wants_key = c == '{', .any_kept = false, .comma = nullptr, .in = in_});
  } else if ((c == '}' || c == ']') && !frames_.empty()) {
    frames_.pop_back();
    in_ = frames_.empty() ? In::other : frames_.back().in;
  } else if (c == ',' && !frames_.empty() && frames_.back().map) {
    Frame& frame = frames_.back();
    frame.wants_key = true;
    frame.comma = at_;
    if (!frame.any_kept) {  // only left out ones before: their comma goes too
      keep(at_);
      kept_ = at_ + 1;
    }
  }
  ++at_;
  return true;
}

}  // namespace

bool prune(std::string& object) {
  return Pruner(object).run();
}

}  // namespace podwire::control::apiserver
