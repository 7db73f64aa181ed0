// What is asked of the API server: the kinds, where they are served, and which objects of them.
// Control thread only.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "control/kube/objects.h"

namespace podwire::control::apiserver {

struct Resource {
  // One way to ask for it; the next one is tried where the server does not know this (404, or 400
  // for a selector).
  struct Place {
    const char* path;  // "/api/v1/pods"
    const char* api_version;
    const char* label_selector;
    const char* field_selector;
  };
  kube::Kind kind;
  const char* plural;  // "pods", as RBAC has it
  std::vector<Place> places;
  bool optional = false;  // a cluster may not serve it at all
  bool of_bgp = false;    // asked for only where podwired speaks BGP: passwords are among it
};

// Every kind that podwire reads.
std::span<const Resource> resources();

// "networking.k8s.io" of "networking.k8s.io/v1"; empty for the core group.
std::string api_group(const char* api_version);
// A query's value.
std::string percent_encoded(std::string_view text);

// Path and query of a list: a page of it when limit is not 0. An empty resource version asks for
// what is newest, "0" for whatever the server has at hand, another for nothing older than that.
struct ListQuery {
  unsigned limit = 0;
  std::string resource_version;
  std::string continue_token;
};
std::string list_path(const Resource::Place& place, const ListQuery& query);
std::string watch_path(const Resource::Place& place, const std::string& resource_version,
                       unsigned timeout_seconds);

}  // namespace podwire::control::apiserver
