#include "bench/ports/report.h"

#include <cmath>
#include <cstdio>
#include <sstream>

namespace podwire::ports {
namespace {

double rounded(double value, double steps) {
  return std::round(value * steps) / steps;
}

double mpps(std::uint64_t packets, double seconds) {
  return rounded(static_cast<double>(packets) / seconds / 1e6, 1e6);
}

Row direction_row(const Direction& d, double seconds) {
  return {{"offered_mpps", mpps(d.sent.packets, seconds)},
          {"received_mpps", mpps(d.arrived.packets, seconds)},
          {"sent", d.sent.packets},
          {"received", d.arrived.packets},
          {"lost", d.lost()},
          {"reordered", d.arrived.reordered},
          {"duplicated", d.arrived.duplicated}};
}

// nlohmann's digits are not always the shortest.
std::string text(const Row& number) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.6g", number.get<double>());
  return digits;
}

template <typename Value>
std::uint64_t sum_of(const Trial& trial, Value&& value) {
  std::uint64_t sum = 0;
  for (const Direction& d : trial.directions) sum += value(d);
  return sum;
}

}  // namespace

Row describe_setup(const Options& options) {
  const TestbedOptions& t = options.testbed;
  const Traffic& traffic = t.traffic;
  const auto name = [](const std::string& device) { return device.substr(0, device.find(',')); };
  const std::string& rx = t.receive_device.empty() ? t.transmit_device : t.receive_device;
  Row size = options.size;
  if (options.size != "imix") size = traffic.sizes.front();
  return {{"bench", "ports"},
          {"system", options.system},
          {"case", options.search        ? "search"
                   : options.connections ? "connections"
                                         : "rate"},
          {"load", options.load},
          {"tx", name(t.transmit_device)},
          {"rx", name(rx)},
          {"devices", {t.transmit_device, rx}},
          {"directions", t.bidirectional ? 2 : 1},
          {"family", traffic.shape.family == net::Family::v4 ? 4 : 6},
          {"protocol", traffic.shape.protocol == net::protocol::udp ? "udp" : "tcp"},
          {"size", size},
          {"mean_size", rounded(traffic.mean_size(), 10)},
          {"flows", traffic.flows},
          {"new_flows_per_second", options.new_flows},
          {"generator_cores", t.cores.size()}};
}

void add_connections(Row& row, const ConnectionsDone& done) {
  row["seconds"] = rounded(done.seconds, 1000);
  row["connections_per_second"] = std::llround(static_cast<double>(done.completed) / done.seconds);
  row["opened"] = done.opened;
  row["completed"] = done.completed;
  row["failed"] = done.failed;
  row["packets_of_connection"] = kStepsOfConnection;
  row["received_mpps"] = mpps(done.packets_received, done.seconds);
  row["wrong_checksum"] = done.wrong_checksum;
  row["duration_ns"] = latency_row(done.duration_ns);
}

std::string line_of_connections(const Row& row) {
  std::ostringstream out;
  const auto& ns = row["duration_ns"];
  out << row["system"].get<std::string>() << ", " << row["flows"]
      << " connections at a time: " << row["connections_per_second"]
      << " connections a second, failed " << row["failed"] << ", " << text(row["received_mpps"])
      << " Mpps\n  from SYN to last ACK, ns: p50 " << ns["p50"] << ", p99 " << ns["p99"]
      << ", p99.9 " << ns["p99_9"] << ", max " << ns["max"];
  return out.str();
}

double mpps_of(double packets_per_second) {
  return rounded(packets_per_second / 1e6, 1e6);
}

void add_search(Row& row, const Options& options, const SearchResult& result) {
  const double directions = options.testbed.bidirectional ? 2 : 1;
  Row goals;
  for (const GoalResult& found : result.goals) {
    const bool no_drop = found.goal.loss_ratio == 0;
    row[no_drop ? "ndr_mpps" : "pdr_mpps"] = mpps_of(found.throughput * directions);
    Row goal{{"loss_ratio", found.goal.loss_ratio},
             {"exceed_ratio", found.goal.exceed_ratio},
             {"width", found.goal.width},
             {"final_trial_seconds", found.goal.final_duration},
             {"duration_sum_seconds", found.goal.duration_sum},
             {"throughput_mpps_each_direction", mpps_of(found.throughput)},
             {"lower_mpps", nullptr},
             {"upper_mpps", nullptr},
             {"regular", found.regular}};
    if (found.lower) goal["lower_mpps"] = mpps_of(*found.lower);
    if (found.upper) goal["upper_mpps"] = mpps_of(*found.upper);
    goals[no_drop ? "ndr" : "pdr"] = goal;
  }
  row["goals"] = goals;
  row["trials"] = result.trials;
  row["search_seconds"] = rounded(result.seconds, 10);
}

std::string line_of_search(const Row& row) {
  std::ostringstream out;
  out << row["system"].get<std::string>() << ", size " << row["size"].dump() << ", " << row["flows"]
      << " flows" << (row["directions"] == 2 ? ", sum of both directions" : "") << ": NDR "
      << text(row["ndr_mpps"]) << " Mpps, PDR " << text(row["pdr_mpps"]) << " Mpps ("
      << row["trials"] << " trials, " << text(row["search_seconds"]) << " s)";
  for (const auto& [name, goal] : row["goals"].items()) {
    if (!goal["regular"].get<bool>()) {
      out << "\n  " << name << ": the search did not narrow it down; it lies between "
          << goal["lower_mpps"] << " and " << goal["upper_mpps"] << " Mpps";
    }
  }
  for (const auto& level : row.value("latency", Row::array())) {
    const auto& ns = level["latency_ns"];
    out << "\n  latency ns at " << level["percent_of_pdr"] << " % of PDR ("
        << text(level["offered_mpps"]) << " Mpps): p50 " << ns["p50"] << ", p90 " << ns["p90"]
        << ", p99 " << ns["p99"] << ", p99.9 " << ns["p99_9"] << ", p99.99 " << ns["p99_99"]
        << ", max " << ns["max"];
  }
  return out.str();
}

Row latency_row(const Histogram& latencies) {
  Row row;
  const std::pair<const char*, double> wanted[] = {
      {"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99_9", 99.9}, {"p99_99", 99.99}};
  row["samples"] = latencies.total();
  for (const auto& [name, percent] : wanted) row[name] = latencies.at_percentile(percent);
  row["max"] = latencies.max();
  row["mean"] = std::llround(latencies.mean());
  return row;
}

void add_trial(Row& row, const Options& options, const Trial& trial) {
  const auto bytes = sum_of(trial, [](const Direction& d) { return d.arrived.bytes; });
  row["seconds"] = rounded(trial.seconds, 1000);
  row["intended_mpps"] =
      options.rate.unit == Rate::Unit::most ? Row() : Row(mpps(trial.intended(), trial.seconds));
  row["offered_mpps"] = mpps(trial.sent(), trial.seconds);
  row["received_mpps"] = mpps(trial.arrived(), trial.seconds);
  row["received_gbit_s"] = rounded(static_cast<double>(bytes) * 8 / trial.seconds / 1e9, 1e4);
  row["sent"] = trial.sent();
  row["refused"] = sum_of(trial, [](const Direction& d) { return d.sent.refused; });
  row["generator_late"] = sum_of(trial, [](const Direction& d) { return d.sent.late; });
  row["received"] = trial.arrived();
  row["lost"] = trial.lost();
  row["reordered"] = sum_of(trial, [](const Direction& d) { return d.arrived.reordered; });
  row["duplicated"] = sum_of(trial, [](const Direction& d) { return d.arrived.duplicated; });
  row["stale"] = sum_of(trial, [](const Direction& d) { return d.arrived.stale; });
  row["wrong_checksum"] = trial.wrong_checksum;
  row["foreign"] = trial.foreign;
  row["of_earlier_trials"] = trial.late;
  row["missed_by_generator"] = trial.missed;
  const auto fresh = sum_of(trial, [](const Direction& d) { return d.sent.new_flows; });
  const Traffic& traffic = options.testbed.traffic;
  if (traffic.every_packet_new || traffic.new_flows_per_second > 0) {
    row["new_flows"] = fresh;
    row["new_flows_opened_per_second"] = std::llround(static_cast<double>(fresh) / trial.seconds);
  }
  if (trial.directions.size() > 1) {
    for (const Direction& d : trial.directions) {
      row["each_direction"].push_back(direction_row(d, trial.seconds));
    }
  }
  Histogram latencies;
  for (const Direction& d : trial.directions) latencies.add(d.arrived.latency_ns);
  row["latency_ns"] = latency_row(latencies);
}

std::string line_of(const Row& row) {
  std::ostringstream out;
  const auto& ns = row["latency_ns"];
  out << row["system"].get<std::string>() << ", size " << row["size"].dump() << ", " << row["flows"]
      << " flows: offered " << text(row["offered_mpps"]) << " Mpps, received "
      << text(row["received_mpps"]) << " Mpps (" << text(row["received_gbit_s"])
      << " Gbit/s), lost " << row["lost"] << ", reordered " << row["reordered"] << ", duplicated "
      << row["duplicated"] << ", wrong checksums " << row["wrong_checksum"];
  for (const auto& d : row.value("each_direction", Row::array())) {
    out << "\n  one direction: offered " << text(d["offered_mpps"]) << " Mpps, received "
        << text(d["received_mpps"]) << " Mpps, lost " << d["lost"];
  }
  out << "\n  latency ns: p50 " << ns["p50"] << ", p90 " << ns["p90"] << ", p99 " << ns["p99"]
      << ", p99.9 " << ns["p99_9"] << ", p99.99 " << ns["p99_99"] << ", max " << ns["max"];
  return out.str();
}

}  // namespace podwire::ports
