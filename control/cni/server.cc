#include "control/cni/server.h"

#include <utility>

namespace podwire::control {
namespace {

// Names come from outside and need not be UTF-8.
std::string line_of(const cni::Reply& reply) {
  return cni::to_json(reply).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

LineServerOptions options(const std::string& run_dir) {
  LineServerOptions result;
  result.path = run_dir + "/" + cni::kSocketName;
  result.longest_line = cni::kLongestRequest;
  return result;
}

void answer(Attacher& attacher, const std::string& line, LineServer::Reply reply) {
  std::string error;
  auto request = cni::parse_request(line, error);
  if (!request) return reply(line_of({cni::Code::decode, error, nullptr}));
  attacher.handle(std::move(*request), [reply = std::move(reply)](const cni::Reply& answered) {
    reply(line_of(answered));
  });
}

}  // namespace

CniServer::CniServer(boost::asio::io_context& io, const std::string& run_dir, Attacher& attacher)
    : lines_(
          io, options(run_dir),
          [&attacher](const std::string& line, LineServer::Reply reply) {
            answer(attacher, line, std::move(reply));
          },
          [](const std::string& sentence) {
            return line_of({cni::Code::decode, sentence, nullptr});
          }) {}

}  // namespace podwire::control
