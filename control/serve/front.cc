#include "control/serve/front.h"

#include <sys/stat.h>

#include <boost/asio.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "control/cni/server.h"
#include "control/ctl/server.h"
#include "control/log.h"
#include "control/serve/http.h"
#include "control/serve/metrics.h"
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
        ctl(context, all.config.run_dir, {all, sampler, attacher.problems()}),
        metrics(all, sampler),
        http(context, [this](const std::string& path) { return page(path); }),
        sample_timer(context),
        watchdog_timer(context) {}

  asio::io_context& io;
  State& state;
  Sampler sampler;
  Attacher attacher;
  CniServer cni;
  ctl::Server ctl;
  Metrics metrics;
  HttpServer http;
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
    return {.status = 404, .body = "served are /metrics, /healthz, /livez and /readyz\n"};
  }

  // That this answers at all says that the control thread lives.
  Page health() {
    const int stuck = sampler.stuck_worker();
    if (stuck < 0) return {.body = "ok\n"};
    return {.status = 503,
            .body = "worker " + std::to_string(stuck) + " has stopped going round\n"};
  }

  void sample() {
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
  if (!p.state.config.metrics_address.empty()) {
    const auto where = parse_listen_address(p.state.config.metrics_address);
    if (!where) return fail("metrics-address: " + where.error().message);
    if (auto done = p.http.listen(*where); !done) return done;
  }
  if (auto done = p.attacher.restore(); !done) return done;
  if (auto done = p.cni.listen(); !done) return done;
  // Only now: a plugin that found no socket has its note written before it looks again.
  p.attacher.carry_out_pending();
  p.sample();
  if (p.manager.watchdog_interval()) p.feed_watchdog();
  return {};
}

void Front::published() {
  Parts& p = *parts_;
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
  p.sample_timer.cancel();
  p.watchdog_timer.cancel();
}

}  // namespace podwire::control
