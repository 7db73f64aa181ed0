// Addresses from an IPAM plugin, by the specification's section 4: the program `ipam.type` in
// CNI_PATH, with this invocation's environment and its whole configuration.
#pragma once

#include <optional>
#include <string>

#include "cni-shim/configuration.h"

namespace podwire::cni {

// One attachment, as the IPAM plugin is told about it.
struct Delegation {
  const Environment& environment;
  nlohmann::json configuration;
  AttachmentName name;
  std::string netns;

  [[nodiscard]] std::string type() const;
  // The result, read (results.h); or the plugin's code with its sentence behind its name.
  std::optional<Refused> add(nlohmann::json& result) const;
  [[nodiscard]] std::optional<Refused> remove() const;
  [[nodiscard]] std::optional<Refused> check() const;
  // GC or STATUS. A plugin that does not speak 1.1.0 is not asked.
  [[nodiscard]] std::optional<Refused> forward(const std::string& verb) const;

 private:
  std::optional<Refused> run(const std::string& verb, std::string& output) const;
};

// What the plugin has given, as podwired is asked for it. Code 7 for what a port cannot have.
std::optional<Refused> read_given(const nlohmann::json& result, const std::string& type,
                                  Wishes& wishes);

}  // namespace podwire::cni
