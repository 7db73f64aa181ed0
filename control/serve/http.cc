#include "control/serve/http.h"

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <utility>

namespace podwire::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {
constexpr unsigned kMostConnections = 64;
constexpr std::uint32_t kLongestHeader = 8192;
constexpr std::chrono::seconds kPatience{5};
}  // namespace

struct HttpServer::Shared {
  Shared(asio::io_context& context, Handler on_request)
      : io(context), handler(std::move(on_request)), acceptor(context) {}
  asio::io_context& io;
  Handler handler;
  tcp::acceptor acceptor;
  unsigned connections = 0;
};

namespace {

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(std::shared_ptr<HttpServer::Shared> server, tcp::socket socket)
      : server_(std::move(server)), stream_(std::move(socket)) {
    ++server_->connections;
    parser_.header_limit(kLongestHeader);
    parser_.body_limit(0);
  }
  ~HttpConnection() { --server_->connections; }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void start() {
    stream_.expires_after(kPatience);
    http::async_read_header(
        stream_, buffer_, parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->answer(error); });
  }

 private:
  void answer(error_code error) {
    if (error) {
      if (error.category() != make_error_code(http::error::bad_method).category() ||
          error == http::error::end_of_stream) {
        return;
      }
      return send(
          {400, "text/plain; charset=utf-8", "not an HTTP request: " + error.message() + "\n"},
          false);
    }
    const auto& request = parser_.get();
    const bool head = request.method() == http::verb::head;
    if (request.method() != http::verb::get && !head) {
      return send({405, "text/plain; charset=utf-8", "only GET and HEAD are served\n"}, false);
    }
    std::string path(request.target());
    send(server_->handler(path.substr(0, path.find('?'))), head);
  }

  void send(const Page& page, bool head) {
    response_.result(page.status);
    response_.version(11);
    response_.keep_alive(false);
    response_.set(http::field::content_type, page.type);
    response_.set("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : page.headers) response_.set(name, value);
    if (page.status == 405) response_.set(http::field::allow, "GET, HEAD");
    response_.content_length(page.body.size());
    if (!head) response_.body() = page.body;
    stream_.expires_after(kPatience);
    http::async_write(stream_, response_, [self = shared_from_this()](error_code, std::size_t) {
      error_code ignored;
      self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    });
  }

  std::shared_ptr<HttpServer::Shared> server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{kLongestHeader};
  http::request_parser<http::empty_body> parser_;
  http::response<http::string_body> response_;
};

void accept_next(const std::shared_ptr<HttpServer::Shared>& server) {
  server->acceptor.async_accept(
      [weak = std::weak_ptr(server)](error_code error, tcp::socket socket) {
        const auto shared = weak.lock();
        if (!shared || !shared->acceptor.is_open()) return;
        if (!error && shared->connections < kMostConnections) {
          std::make_shared<HttpConnection>(shared, std::move(socket))->start();
        }
        if (error == asio::error::no_descriptors) {
          // Out of descriptors: asking again at once would spin.
          auto pause = std::make_shared<asio::steady_timer>(shared->io, std::chrono::seconds(1));
          pause->async_wait([weak, pause](error_code) {
            const auto later = weak.lock();
            if (later && later->acceptor.is_open()) accept_next(later);
          });
          return;
        }
        accept_next(shared);
      });
}

}  // namespace

HttpServer::HttpServer(asio::io_context& io, Handler handler)
    : shared_(std::make_shared<Shared>(io, std::move(handler))) {}

HttpServer::~HttpServer() {
  stop();
  // A connection that is still open is answered as if nothing were there.
  shared_->handler = [](const std::string&) { return Page{503, "text/plain", "stopping\n"}; };
}

Result<void> HttpServer::listen(const ListenAddress& where) {
  const auto address = asio::ip::make_address(where.address.to_string());
  const tcp::endpoint endpoint(address, where.port);
  auto& acceptor = shared_->acceptor;
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(64, error);
  if (error) {
    stop();
    const std::string text = (where.address.is_v4() ? where.address.to_string()
                                                    : "[" + where.address.to_string() + "]") +
                             ":" + std::to_string(where.port);
    if (error == asio::error::address_in_use) {
      return fail(text + " is in use by another program");
    }
    return fail(text + " cannot be served: " + error.message());
  }
  accept_next(shared_);
  return {};
}

std::uint16_t HttpServer::port() const {
  error_code ignored;
  return shared_->acceptor.local_endpoint(ignored).port();
}

void HttpServer::stop() {
  error_code ignored;
  shared_->acceptor.close(ignored);
}

}  // namespace podwire::control
