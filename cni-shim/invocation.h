// One checked invocation and what it does: podwired is asked, the IPAM plugin is executed, files
// beside podwired's are written; the way back is taken when a step fails.
#pragma once

#include <optional>
#include <string>

#include "cni-shim/configuration.h"
#include "cni-shim/delegate.h"

namespace podwire::cni {

class Invocation {
 public:
  Invocation(const Environment& environment, const Configuration& configuration, Request request);

  // Nothing, or what goes to the caller as an error. ADD's result is in the caller's version.
  std::optional<Refused> add(nlohmann::json& result);
  std::optional<Refused> remove();
  std::optional<Refused> check();
  std::optional<Refused> collect_garbage();
  std::optional<Refused> status();

 private:
  [[nodiscard]] AttachmentName name() const { return {request_.container_id, request_.interface}; }
  [[nodiscard]] std::string socket() const;
  [[nodiscard]] Refused absent(Code code) const;
  std::optional<Refused> ask_podwired(Code without_one, Reply* reply = nullptr);
  [[nodiscard]] Delegation delegation() const;
  // `ipam_undone`: an IPAM plugin that refuses in good order keeps nothing.
  std::optional<Refused> add_noted(nlohmann::json& own, bool& ipam_undone);
  std::optional<Refused> write_device_file(const nlohmann::json& info);
  std::optional<Refused> remove_at_podwired();
  // Takes away what the note says that others keep for the attachment; then the note itself.
  std::optional<Refused> remove_made(const nlohmann::json& note);

  const Environment& environment_;
  const Configuration& config_;
  Request request_;
};

}  // namespace podwire::cni
