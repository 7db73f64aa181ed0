// What arrives on podwired.sock: the answer is always one line of JSON with a result or an error.
#include <cstdlib>
#include <string>

#include "control/ctl/server.h"
#include "control/ctl/text.h"
#include "tests/unit/control/fake_dataplane.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static podwire::control::Bench bench;
  static podwire::control::Sampler sampler(bench.dataplane);
  static const std::vector<std::string> problems;
  const std::string line(reinterpret_cast<const char*>(data), size);
  static podwire::control::explain::Explainer explainer(bench.state.store, "n1", 100);
  const std::string answered =
      podwire::control::ctl::answer(line, {bench.state, sampler, problems, problems}, explainer);
  const auto json = nlohmann::json::parse(answered, nullptr, false);
  if (!json.is_object() || json.contains("result") == json.contains("error")) std::abort();
  if (answered.find('\n') != std::string::npos) std::abort();
  return 0;
}
