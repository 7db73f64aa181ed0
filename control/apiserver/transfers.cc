#include "control/apiserver/transfers.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <utility>
#include <vector>

#include "control/version.h"
#include "dataplane/check.h"

namespace podwire::control::apiserver {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t kMaxErrorBody = std::size_t{64} << 10;
constexpr int kPeerGoneMs = 30'000;

struct CurlFree {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Easy = std::unique_ptr<CURL, CurlFree>;
using List = std::unique_ptr<curl_slist, CurlFree>;

struct Transfer {
  Transfer(asio::io_context& io, Request asked, Clock::time_point& last_heard)
      : request(std::move(asked)), heard(last_heard), silence(io) {}
  void hears() { last_byte = heard = Clock::now(); }

  Request request;
  Easy easy;
  List headers, connect_to;
  std::array<char, CURL_ERROR_SIZE> error{};
  std::string body;
  bool stopped = false;
  Clock::time_point last_byte = Clock::now();  // or its beginning
  Clock::time_point& heard;                    // of all transfers
  asio::steady_timer silence;
};

template <typename T>
void set(CURL* easy, CURLoption option, T value) {
  const CURLcode done = curl_easy_setopt(easy, option, value);
  check(done == CURLE_OK, curl_easy_strerror(done));
}

void set_blob(CURL* easy, CURLoption option, const std::string& text) {
  curl_blob blob{.data = const_cast<char*>(text.data()),  // copied
                 .len = text.size(),
                 .flags = CURL_BLOB_COPY};
  set(easy, option, &blob);
}

std::string part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return {};
  std::string copy = text;
  curl_free(text);
  return copy;
}

// The certificate is judged by the URL's host: with a tls-server-name that is the URL's host, and
// the connection is sent to the server's own.
std::string url_of(const Access& access, const std::string& path, List& connect_to) {
  std::string plain = access.server + path;
  if (access.tls_server_name.empty()) return plain;
  const std::unique_ptr<CURLU, CurlFree> url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, plain.c_str(), 0) != CURLUE_OK) return plain;
  const std::string host = part_of(url.get(), CURLUPART_HOST);
  const std::string port = part_of(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  const std::string rule = access.tls_server_name + ":" + port + ":" + host + ":" + port;
  connect_to.reset(curl_slist_append(nullptr, rule.c_str()));
  curl_url_set(url.get(), CURLUPART_HOST, access.tls_server_name.c_str(), 0);
  return part_of(url.get(), CURLUPART_URL);
}

// Unanswered data and unanswered probes both end the connection after kPeerGoneMs.
int set_socket_options(void* /*unused*/, curl_socket_t socket, curlsocktype /*purpose*/) {
  const int count = 3, most = kPeerGoneMs;
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
  setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &most, sizeof most);
  return CURL_SOCKOPT_OK;
}

long status_of(const Transfer& transfer) {
  long status = 0;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
  return status;
}

bool is_success(const Transfer& transfer) {
  const long status = status_of(transfer);
  return status == 200 || status == 201;
}

std::size_t write_bytes(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.hears();
  const std::string_view text(bytes, size * count);
  if (!is_success(transfer)) {
    transfer.body.append(text.substr(0, kMaxErrorBody - transfer.body.size()));
    return text.size();
  }
  if (transfer.request.data(text)) return text.size();
  transfer.stopped = true;
  return text.empty() ? 1 : 0;  // anything but the size ends it
}

std::size_t take_header(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.hears();
  const std::string_view line(bytes, size * count);
  if (line == "\r\n" && is_success(transfer)) transfer.request.begun();
  return line.size();
}

void set_connection(CURL* easy, Transfer& transfer) {
  const Access& access = transfer.request.credential.access;
  const std::string url = url_of(access, transfer.request.path, transfer.connect_to);
  set(easy, CURLOPT_URL, url.c_str());
  set(easy, CURLOPT_PROTOCOLS_STR, "https");
  if (transfer.connect_to) set(easy, CURLOPT_CONNECT_TO, transfer.connect_to.get());
  // The environment's proxies are for people; empty: none.
  set(easy, CURLOPT_PROXY, access.proxy.c_str());
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  // Wait for a connection that is being made rather than make another.
  set(easy, CURLOPT_PIPEWAIT, 1L);
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_CONNECTTIMEOUT, 10L);
  set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set(easy, CURLOPT_TCP_KEEPIDLE, 15L);
  set(easy, CURLOPT_TCP_KEEPINTVL, 5L);
  set(easy, CURLOPT_SOCKOPTFUNCTION, &set_socket_options);
}

void set_tls(CURL* easy, const Credential& credential) {
  set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!credential.ca.empty()) {
    // The cluster's CA alone: not the system's beside it.
    set(easy, CURLOPT_CAINFO, static_cast<const char*>(nullptr));
    set(easy, CURLOPT_CAPATH, static_cast<const char*>(nullptr));
    set_blob(easy, CURLOPT_CAINFO_BLOB, credential.ca);
  }
  if (!credential.certificate.empty()) {
    set(easy, CURLOPT_SSLCERTTYPE, "PEM");
    set(easy, CURLOPT_SSLKEYTYPE, "PEM");
    set_blob(easy, CURLOPT_SSLCERT_BLOB, credential.certificate);
    set_blob(easy, CURLOPT_SSLKEY_BLOB, credential.key);
  }
}

void set_up(Transfer& transfer) {
  transfer.easy.reset(curl_easy_init());
  check(transfer.easy != nullptr, "libcurl gives no handle: no memory?");
  CURL* const easy = transfer.easy.get();
  const auto add_header = [&](const std::string& line) {
    transfer.headers.reset(curl_slist_append(transfer.headers.release(), line.c_str()));
  };
  add_header("Accept: application/json");
  if (const auto& token = transfer.request.credential.token; !token.empty()) {
    add_header("Authorization: Bearer " + token);
  }
  if (const Request& asked = transfer.request; !asked.body.empty()) {
    add_header("Content-Type: application/json");
    set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(asked.body.size()));
    set(easy, CURLOPT_POSTFIELDS, asked.body.c_str());  // lives as long as the transfer
  }
  set(easy, CURLOPT_CUSTOMREQUEST, transfer.request.method);
  set_connection(easy, transfer);
  set_tls(easy, transfer.request.credential);
  set(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
  set(easy, CURLOPT_USERAGENT, (std::string("podwired/") + kVersion).c_str());
  set(easy, CURLOPT_BUFFERSIZE, 128L << 10);
  set(easy, CURLOPT_WRITEFUNCTION, &write_bytes);
  set(easy, CURLOPT_WRITEDATA, &transfer);
  set(easy, CURLOPT_HEADERFUNCTION, &take_header);
  set(easy, CURLOPT_HEADERDATA, &transfer);
  set(easy, CURLOPT_ERRORBUFFER, transfer.error.data());
  set(easy, CURLOPT_PRIVATE, &transfer);
}

Outcome outcome_of(Transfer& transfer, CURLcode code) {
  CURL* const easy = transfer.easy.get();
  Outcome outcome;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &outcome.status);
  curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &outcome.os_error);
  curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &outcome.verify_result);
  curl_off_t wait = 0;
  if (curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0) {
    outcome.retry_after = std::chrono::seconds(wait);
  }
  outcome.curl_code = code;
  outcome.body = std::move(transfer.body);
  outcome.end = transfer.stopped   ? Outcome::End::stopped
                : code == CURLE_OK ? Outcome::End::complete
                                   : Outcome::End::failed;
  outcome.trouble = transfer.error[0] != '\0' ? transfer.error.data() : curl_easy_strerror(code);
  return outcome;
}

}  // namespace

// libcurl's sockets stand in an epoll set of their own, which is the one descriptor that asio sees:
// its fds come and go inside libcurl.
class Transfers::Multi : public std::enable_shared_from_this<Multi> {
 public:
  Multi(asio::io_context& io, Pulse pulse)
      : io_(io),
        pulse_(pulse),
        sockets_(io, epoll_create1(EPOLL_CLOEXEC)),
        timer_(io),
        pulse_timer_(io) {
    check(sockets_.is_open(), "epoll_create1 fails: too many open files?");
  }
  void open();
  void close();

  Id start(Request request);
  void cancel(Id id);

 private:
  static int socket_changed(CURL* /*easy*/, curl_socket_t socket, int what, void* user,
                            void* known);
  static int timer_changed(CURLM* /*multi*/, long milliseconds, void* user);
  void wait_for_sockets();
  void sockets_ready();
  void act(curl_socket_t socket, int events);
  void finish_done();
  void watch_silence(Id id);
  void silent(Id id);
  void watch_pulse(Clock::time_point next);
  void feel_pulse();
  void give_up_connections();
  void remove(Transfer& transfer) {
    transfer.silence.cancel();
    curl_multi_remove_handle(multi_, transfer.easy.get());
  }

  asio::io_context& io_;
  const Pulse pulse_;
  asio::posix::stream_descriptor sockets_;
  asio::steady_timer timer_, pulse_timer_;
  // A byte of any answer. That something was asked says nothing about the server.
  Clock::time_point heard_{};
  CURLM* multi_ = nullptr;
  bool waiting_ = false;  // for the sockets
  std::map<Id, std::unique_ptr<Transfer>> transfers_;
  Id last_id_ = 0;
};

void Transfers::Multi::open() {
  multi_ = curl_multi_init();
  check(multi_ != nullptr, "libcurl gives no multi handle: no memory?");
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &socket_changed);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &timer_changed);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX));
}

void Transfers::Multi::close() {
  for (auto& [id, transfer] : transfers_) remove(*transfer);
  transfers_.clear();
  if (multi_ != nullptr) curl_multi_cleanup(std::exchange(multi_, nullptr));
  timer_.cancel();
  pulse_timer_.cancel();
  error_code ignored;
  sockets_.close(ignored);
}

int Transfers::Multi::socket_changed(CURL* /*easy*/, curl_socket_t socket, int what, void* user,
                                     void* known) {
  auto& self = *static_cast<Multi*>(user);
  const int set = self.sockets_.native_handle();
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(set, EPOLL_CTL_DEL, socket, nullptr);
    return 0;
  }
  epoll_event event{};
  event.data.fd = socket;
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  epoll_ctl(set, known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event);
  curl_multi_assign(self.multi_, socket, &self);
  self.wait_for_sockets();
  return 0;
}

int Transfers::Multi::timer_changed(CURLM* /*multi*/, long milliseconds, void* user) {
  auto& self = *static_cast<Multi*>(user);
  if (milliseconds < 0) {
    self.timer_.cancel();
    return 0;
  }
  self.timer_.expires_after(std::chrono::milliseconds(milliseconds));
  self.timer_.async_wait([weak = self.weak_from_this()](error_code error) {
    const auto alive = weak.lock();
    if (!error && alive && alive->multi_ != nullptr) alive->act(CURL_SOCKET_TIMEOUT, 0);
  });
  return 0;
}

void Transfers::Multi::wait_for_sockets() {
  if (std::exchange(waiting_, true)) return;
  sockets_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [weak = weak_from_this()](error_code error) {
                        const auto alive = weak.lock();
                        if (error || !alive || alive->multi_ == nullptr) return;
                        alive->waiting_ = false;
                        alive->sockets_ready();
                      });
}

void Transfers::Multi::sockets_ready() {
  std::array<epoll_event, 16> events{};
  const int count = epoll_wait(sockets_.native_handle(), events.data(), events.size(), 0);
  for (int i = 0; i < count && multi_ != nullptr; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    act(event.data.fd, ((event.events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                           ((event.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                           ((event.events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0));
  }
  if (multi_ != nullptr) wait_for_sockets();
}

void Transfers::Multi::act(curl_socket_t socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, socket, events, &running);
  finish_done();
}

void Transfers::Multi::finish_done() {
  int left = 0;
  while (multi_ != nullptr) {
    const CURLMsg* const message = curl_multi_info_read(multi_, &left);
    if (message == nullptr) return;
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Transfer* done = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &done);
    for (auto place = transfers_.begin(); place != transfers_.end(); ++place) {
      if (place->second.get() != done) continue;
      const auto transfer = std::move(place->second);
      transfers_.erase(place);
      Outcome outcome = outcome_of(*transfer, code);
      remove(*transfer);
      transfer->request.done(std::move(outcome));
      break;
    }
  }
}

Transfers::Id Transfers::Multi::start(Request request) {
  const Id id = ++last_id_;
  auto& transfer = transfers_[id] = std::make_unique<Transfer>(io_, std::move(request), heard_);
  set_up(*transfer);
  curl_multi_add_handle(multi_, transfer->easy.get());
  watch_silence(id);
  if (transfers_.size() == 1) {
    heard_ = Clock::now();
    watch_pulse(heard_ + pulse_.idle);
  }
  return id;
}

void Transfers::Multi::cancel(Id id) {
  const auto place = transfers_.find(id);
  if (place == transfers_.end()) return;
  remove(*place->second);
  transfers_.erase(place);
}

// One wait for each limit, not for each byte.
void Transfers::Multi::watch_silence(Id id) {
  Transfer& transfer = *transfers_.at(id);
  transfer.silence.expires_at(transfer.last_byte + transfer.request.silence);
  transfer.silence.async_wait([weak = weak_from_this(), id](error_code error) {
    const auto alive = weak.lock();
    if (error || !alive || !alive->transfers_.contains(id)) return;
    const Transfer& waiting = *alive->transfers_.at(id);
    const bool spoke = Clock::now() - waiting.last_byte < waiting.request.silence;
    spoke ? alive->watch_silence(id) : alive->silent(id);
  });
}

void Transfers::Multi::watch_pulse(Clock::time_point next) {
  pulse_timer_.expires_at(next);
  pulse_timer_.async_wait([weak = weak_from_this()](error_code error) {
    const auto alive = weak.lock();
    if (!error && alive && alive->multi_ != nullptr) alive->feel_pulse();
  });
}

// The question goes the way of the others, by HTTP/2 over the same connection; where it is not
// answered, silent() finds that nobody else is either.
void Transfers::Multi::feel_pulse() {
  if (transfers_.empty()) return;  // the next start() begins anew
  if (Clock::now() - heard_ < pulse_.idle) return watch_pulse(heard_ + pulse_.idle);
  Request question;
  question.credential = transfers_.begin()->second->request.credential;
  question.path = pulse_.path;
  question.silence = pulse_.patience;
  question.begun = [] {};
  question.data = [](std::string_view) { return true; };
  question.done = [](const Outcome&) {};
  start(std::move(question));
  watch_pulse(Clock::now() + pulse_.idle);
}

void Transfers::Multi::silent(Id id) {
  const auto limit = transfers_.at(id)->request.silence;
  if (Clock::now() - heard_ >= limit) return give_up_connections();
  const auto transfer = std::move(transfers_.at(id));
  transfers_.erase(id);
  Outcome outcome = outcome_of(*transfer, CURLE_OPERATION_TIMEDOUT);
  outcome.end = Outcome::End::silent;
  remove(*transfer);
  transfer->request.done(std::move(outcome));
}

void Transfers::Multi::give_up_connections() {
  const auto all = std::exchange(transfers_, {});
  std::vector<Outcome> outcomes;
  for (const auto& [id, transfer] : all) {
    outcomes.push_back(outcome_of(*transfer, CURLE_OPERATION_TIMEDOUT));
    outcomes.back().end = Outcome::End::silent;
    remove(*transfer);
  }
  curl_multi_cleanup(multi_);
  open();
  std::size_t i = 0;
  for (const auto& [id, transfer] : all) transfer->request.done(std::move(outcomes[i++]));
}

Transfers::Transfers(asio::io_context& io, Pulse pulse) {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  check(global == CURLE_OK, "libcurl cannot be set up");
  multi_ = std::make_shared<Multi>(io, pulse);
  multi_->open();
}

Transfers::~Transfers() {
  multi_->close();
}

Transfers::Id Transfers::start(Request request) {
  return multi_->start(std::move(request));
}

void Transfers::cancel(Id id) {
  multi_->cancel(id);
}

}  // namespace podwire::control::apiserver
