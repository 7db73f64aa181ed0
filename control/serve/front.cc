#include "control/serve/front.h"

#include <sys/stat.h>

#include <boost/asio.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "control/cni/server.h"
#include "control/ctl/server.h"
#include "control/log.h"
#include "control/serve/http.h"
#include "control/serve/metrics.h"
#include "control/serve/proxy_health.h"
#include "control/serve/service_health.h"
#include "control/serve/service_manager.h"
#include "control/serve/totals.h"

namespace podwire::control {

namespace asio = boost::asio;
using boost::system::error_code;

struct Front::Parts {
  Parts(asio::io_context& context, State& all, LoopHooks hooks)
      : io(context),
        state(all),
        sampler(all.dataplane),
        attacher(all, std::move(hooks)),
        cni(context, all.config.run_dir, attacher),
        proxy_health(all, sampler),
        service_health(context, all, [this] { return proxy_health.healthy(); }),
        ctl(context, all.config.run_dir,
            {all, sampler, attacher.problems(), service_health.problems()}),
        metrics(all, sampler, proxy_health),
        http(context, [this](const std::string& path) { return page(path); }),
        healthz(context, [this](const std::string& path) { return healthz_page(path); }),
        sample_timer(context),
        watchdog_timer(context) {}

  asio::io_context& io;
  State& state;
  Sampler sampler;
  Attacher attacher;
  CniServer cni;
  ProxyHealth proxy_health;
  ServiceHealth service_health;
  ctl::Server ctl;
  Metrics metrics;
  HttpServer http, healthz;
  ServiceManager manager;
  asio::steady_timer sample_timer, watchdog_timer;
  bool ready_told = false, stopped = false;

  [[nodiscard]] bool ready() const {
    return state.store.synced && state.snapshot != nullptr && state.snapshot->synced;
  }

  Page page(const std::string& path) {
    if (path == "/metrics") {
      return {200, "text/plain; version=0.0.4; charset=utf-8", metrics.text()};
    }
    if (path == "/healthz" || path == "/livez") return health();
    if (path == "/readyz") {
      if (ready()) return {.body = "ok\n"};
      const std::string& trouble = state.source_trouble;
      return {.status = 503,
              .body = "not ready: the first complete set of objects is not in force" +
                      (trouble.empty() ? "" : ": " + trouble) + "\n"};
    }
    // kube-proxy names its way of programming the kernel here; podwire is a way of its own.
    if (path == "/proxyMode") return {.body = "podwire"};
    if (path == "/configz") return configz();
    return {.status = 404,
            .body = "served are /metrics, /healthz, /livez, /readyz, /proxyMode and /configz\n"};
  }

  // As Kubernetes' own daemons show theirs: one object, under the component's name.
  Page configz() {
    nlohmann::json keys = nlohmann::json::object();
    for (const auto& [key, values, list] : state.config.in_force) {
      keys[key] = list ? nlohmann::json(values) : nlohmann::json(values.front());
    }
    return {200, "application/json", nlohmann::json{{"podwire", keys}}.dump(2) + "\n"};
  }

  Page healthz_page(const std::string& path) {
    if (path == "/healthz") return proxy_health.healthz();
    if (path == "/livez") return proxy_health.livez();
    return {.status = 404, .body = "served are /healthz and /livez\n"};
  }

  // That this answers at all says that the control thread lives.
  Page health() {
    const int stuck = sampler.stuck_worker();
    if (stuck < 0) return {.body = "ok\n"};
    return {.status = 503,
            .body = "worker " + std::to_string(stuck) + " has stopped going round\n"};
  }

  void sample() {
    state.gather_denials();
    sampler.sample(state.snapshot == nullptr ? 0 : state.snapshot->ports->ports.size());
    sample_timer.expires_after(std::chrono::seconds(1));
    sample_timer.async_wait([this](error_code error) {
      if (!error) sample();
    });
  }

  void feed_watchdog() {
    if (sampler.stuck_worker() < 0) manager.tell("WATCHDOG=1");
    watchdog_timer.expires_after(*manager.watchdog_interval());
    watchdog_timer.async_wait([this](error_code error) {
      if (!error) feed_watchdog();
    });
  }

  static Result<void> listen(const char* key, const std::string& text, HttpServer& server) {
    if (text.empty()) return {};
    const auto where = parse_listen_address(text);
    if (!where) return fail(std::string(key) + ": " + where.error().message);
    const auto done = server.listen(*where);
    if (done) return {};
    return fail(std::string(key) + ": " + done.error().message +
                "; choose another port, or leave it empty");
  }

  Result<void> prepare_run_dir() {
    const std::string& path = state.config.run_dir;
    std::error_code error;
    const bool made = std::filesystem::create_directories(path, error);
    if (error) return fail("run-dir: " + path + " cannot be made: " + error.message());
    // One that was there is somebody's choice; the sockets themselves are closed to others anyway.
    if (made && chmod(path.c_str(), 0700) != 0) {
      return fail("run-dir: mode of " + path + " cannot be set: " + std::strerror(errno));
    }
    return {};
  }
};

Front::Front(asio::io_context& io, State& state, LoopHooks hooks)
    : parts_(std::make_unique<Parts>(io, state, std::move(hooks))) {}

Front::~Front() {
  stop();
}

Result<void> Front::start() {
  Parts& p = *parts_;
  if (auto done = p.prepare_run_dir(); !done) return done;
  if (auto done = p.ctl.listen(); !done) return done;
  const Config& config = p.state.config;
  if (auto done = p.listen("metrics-address", config.metrics_address, p.http); !done) return done;
  if (auto done = p.listen("healthz-address", config.healthz_address, p.healthz); !done) {
    return done;
  }
  if (auto done = p.attacher.restore(); !done) return done;
  if (auto done = p.cni.listen(); !done) return done;
  // Only now: a plugin that found no socket has its note written before it looks again.
  p.attacher.carry_out_pending();
  p.sample();
  if (p.manager.watchdog_interval()) p.feed_watchdog();
  return {};
}

void Front::published(const Changes& changes, const StoreWriter& store) {
  Parts& p = *parts_;
  p.service_health.follow(changes, store);
  p.attacher.follow(changes);
  p.state.gather_denials();
  if (p.ready_told || !p.ready()) return;
  p.ready_told = true;
  p.manager.tell("READY=1");
  log(LogLevel::info, "ready", "pods=" + std::to_string(p.state.attachments.size()));
}

void Front::stop() {
  Parts& p = *parts_;
  if (std::exchange(p.stopped, true)) return;
  p.manager.tell("STOPPING=1");
  p.cni.stop_listening();
  p.ctl.stop_listening();
  p.http.stop();
  p.healthz.stop();
  p.service_health.stop();
  p.sample_timer.cancel();
  p.watchdog_timer.cancel();
}

}  // namespace podwire::control
