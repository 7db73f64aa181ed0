#include "bench/ports/options.h"

#include <sched.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <iostream>

namespace podwire::ports {
namespace {

namespace po = boost::program_options;

constexpr unsigned kLargestSize = 9216;
constexpr std::uint32_t kMostFlows = 16'000'000;

struct Raw {  // as it is written
  std::string rate, new_flows, connections, size, protocol, cores, source, destination, mac,
      reply_mac;
  int family = 4;
  Goal goal;
  double pdr_percent = 0.5;
  double backlog_us = 1000;
};

auto text(std::string* to, const char* value) {
  return po::value(to)->default_value(value);
}

po::options_description describe_packets(TestbedOptions& t, Raw& raw) {
  po::options_description packets("Packets");
  packets.add_options()("size", text(&raw.size, "64"),
                        "of frames with their check sequence, in bytes, or imix")(
      "family", po::value(&raw.family)->default_value(4), "4 or 6")(
      "protocol", text(&raw.protocol, "udp"), "udp or tcp")(
      "flows", po::value(&t.traffic.flows)->default_value(1000), "flows, sent in turn")(
      "new-flows", text(&raw.new_flows, "0"),
      "flows a second that take the place of the oldest, or each: every packet opens one")(
      "source", po::value(&raw.source), "first source address; default 198.18.0.1, fd00:198:18::1")(
      "destination", po::value(&raw.destination),
      "first destination address; default 198.19.0.1, fd00:198:19::1")(
      "backlog-us", po::value(&raw.backlog_us)->default_value(1000),
      "what a generator kept off its core makes up for at once, in microseconds of packets")(
      "destinations", po::value(&t.space.destinations)->default_value(1), "addresses from there")(
      "port", po::value(&t.space.destination_port)->default_value(80), "destination port");
  return packets;
}

po::options_description describe(Options& o, Raw& raw) {
  TestbedOptions& t = o.testbed;
  po::options_description all(
      "ports: a packet generator and sink on DPDK.\n\n"
      "  ports --tx DEVICE [--rx DEVICE] [option...]\n\n"
      "DEVICE is what DPDK takes: 0000:03:00.0, net_memif0,socket=/run/x.sock,..., "
      "net_af_packet0,iface=eth0. bench/ports/run --podwired brings a podwired along");
  po::options_description devices("Devices");
  devices.add_options()("tx", po::value(&t.transmit_device), "packets leave here")(
      "rx", po::value(&t.receive_device), "and arrive here; default: the same device")(
      "destination-mac", po::value(&raw.mac), "of the device under test; default: of --rx")(
      "reply-mac", po::value(&raw.reply_mac), "the same for replies; default: of --tx")(
      "cores", po::value(&raw.cores),
      "one core to send and receive, or two (2,3): one each; default: the last")(
      "memory-mb", po::value(&o.eal.memory_mb), "for DPDK; default: what the packets need")(
      "hugepages", po::bool_switch(&o.eal.hugepages), "take them for packet buffers")(
      "eal-arg", po::value(&o.eal.extra)->composing(), "a further argument for DPDK (repeat)")(
      "link-seconds", po::value(&t.link_seconds)->default_value(t.link_seconds),
      "how long to wait for the link");
  po::options_description measuring("Measuring");
  measuring.add_options()("rate", text(&raw.rate, "max"),
                          "of each direction: max, 2.5Mpps, 300kpps, 10%, 3Gbit/s")(
      "seconds", po::value(&o.seconds)->default_value(o.seconds), "of sending")(
      "connections", po::value(&raw.connections),
      "TCP connections a second from SYN to the last ACK, or max; --flows of them at a time")(
      "bidirectional", po::bool_switch(&t.bidirectional), "replies at the same rate, too")(
      "no-open", "do not send each flow's first packets before measuring")(
      "system", text(&o.system, "device"), "name of what is measured, for the result")(
      "json", po::bool_switch(&o.json), "one JSON object a line")(
      "percentiles", po::value(&o.percentiles), "write the latencies' distribution to this file")(
      "help", "this text");
  po::options_description search("Search for NDR and PDR (RFC 9971)");
  const auto number = [](double* to) { return po::value(to)->default_value(*to); };
  search.add_options()("search", po::bool_switch(&o.search),
                       "find both, then latency at 10, 50 and 90 % of PDR for --seconds each; "
                       "--rate is the largest load")("pdr-loss", number(&raw.pdr_percent),
                                                     "percent that PDR may lose")(
      "width", number(&raw.goal.width), "relative distance of the bounds at the end")(
      "exceed-ratio", number(&raw.goal.exceed_ratio), "share of time that may lose more")(
      "trial-seconds", number(&raw.goal.final_duration), "of trials that judge")(
      "short-trial-seconds", number(&raw.goal.initial_duration), "of the first trials")(
      "duration-sum", number(&raw.goal.duration_sum), "seconds of trials that judge a load")(
      "search-seconds", number(&o.limits.seconds), "then the search ends where it is");
  all.add(devices).add(describe_packets(t, raw)).add(measuring).add(search);
  return all;
}

Result<std::vector<unsigned>> parse_cores(const std::string& text) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  std::vector<unsigned> cores;
  if (text.empty()) {
    for (unsigned core = CPU_SETSIZE; core-- > 0;) {
      if (CPU_ISSET(core, &allowed)) return std::vector<unsigned>{core};
    }
  }
  const char* end = text.data() + text.size();
  for (const char* at = text.data(); at < end; ++at) {
    unsigned core = 0;
    const auto read = std::from_chars(at, end, core);
    const bool sound = read.ec == std::errc() && (read.ptr == end || *read.ptr == ',') &&
                       core < CPU_SETSIZE && CPU_ISSET(core, &allowed);
    if (!sound) return fail("--cores: \"" + text + "\" is no list of cores that may be used here");
    cores.push_back(core);
    at = read.ptr;
  }
  if (cores.size() > 2 || (cores.size() == 2 && cores[0] == cores[1])) {
    return fail("--cores: one core, or two different ones, not " + text);
  }
  return cores;
}

Result<void> check_new_flows(Options& o, const Raw& raw) {
  Traffic& traffic = o.testbed.traffic;
  traffic.every_packet_new = raw.new_flows == "each";
  if (!traffic.every_packet_new) {
    auto rate = parse_number(raw.new_flows);
    if (!rate || *rate < 0) {
      return fail("--new-flows is a number of flows a second, or each, not " + raw.new_flows);
    }
    traffic.new_flows_per_second = *rate;
  }
  if (!traffic.every_packet_new && traffic.new_flows_per_second == 0) return {};
  if (o.testbed.bidirectional) {
    return fail("--new-flows does not go with --bidirectional: nobody has learned their replies");
  }
  if (raw.protocol == "tcp") {
    return fail("--new-flows is for udp; --connections opens and closes TCP connections");
  }
  return {};
}

Result<void> check_packets(Options& o, const Raw& raw) {
  Traffic& traffic = o.testbed.traffic;
  if (raw.family != 4 && raw.family != 6) return fail("--family is 4 or 6");
  if (raw.protocol != "udp" && raw.protocol != "tcp") return fail("--protocol is udp or tcp");
  traffic.shape = {raw.family == 4 ? net::Family::v4 : net::Family::v6,
                   raw.protocol == "udp" ? net::protocol::udp : net::protocol::tcp};
  traffic.sizes = sizes_of(raw.size, traffic.shape);
  if (traffic.sizes.empty()) return fail("--size is a number of bytes or imix, not " + raw.size);
  const unsigned least = traffic.shape.least_size();
  const auto smallest = *std::min_element(traffic.sizes.begin(), traffic.sizes.end());
  if (smallest < std::max(64U, least) || traffic.largest_size() > kLargestSize) {
    return fail("--size: " + raw.protocol + " over IPv" + std::to_string(raw.family) +
                " with number and time takes " + std::to_string(std::max(64U, least)) + " to " +
                std::to_string(kLargestSize) + " bytes, not " + raw.size);
  }
  if (traffic.flows < 1 || traffic.flows > kMostFlows) {
    return fail("--flows is 1 to " + std::to_string(kMostFlows));
  }
  if (auto done = check_new_flows(o, raw); !done) return done;
  if (raw.backlog_us < 0) return fail("--backlog-us is 0 or more");
  traffic.backlog_seconds = raw.backlog_us / 1e6;
  o.size = raw.size;
  o.load = raw.connections.empty() ? raw.rate : raw.connections;
  o.new_flows = raw.new_flows;
  return {};
}

Result<net::Address> address(const char* option, const std::string& text, const char* v4,
                             const char* v6, net::Family family) {
  const auto parsed = net::Address::parse(!text.empty()               ? text
                                          : family == net::Family::v4 ? v4
                                                                      : v6);
  if (!parsed || parsed->family() != family) {
    return fail(std::string(option) + ": \"" + text + "\" is no IPv" +
                (family == net::Family::v4 ? "4" : "6") + " address");
  }
  return *parsed;
}

Result<void> check_addresses(Options& o, const Raw& raw) {
  const auto family = o.testbed.traffic.shape.family;
  auto source = address("--source", raw.source, "198.18.0.1", "fd00:198:18::1", family);
  if (!source) return tl::unexpected(source.error());
  auto destination =
      address("--destination", raw.destination, "198.19.0.1", "fd00:198:19::1", family);
  if (!destination) return tl::unexpected(destination.error());
  o.testbed.space.first_source = *source;
  o.testbed.space.first_destination = *destination;
  if (o.testbed.space.destinations < 1) return fail("--destinations is 1 or more");
  if (o.testbed.space.destination_port < 1) return fail("--port is 1 to 65535");
  const auto mac = [](const char* option, const std::string& text, net::Mac& to) -> Result<void> {
    if (text.empty()) return {};
    const auto parsed = net::Mac::parse(text);
    if (!parsed) return fail(std::string(option) + ": \"" + text + "\" is no MAC address");
    to = *parsed;
    return {};
  };
  auto done = mac("--destination-mac", raw.mac, o.testbed.destination_mac);
  return done ? mac("--reply-mac", raw.reply_mac, o.testbed.reply_mac) : done;
}

Result<void> check_connections(Options& o, const Raw& raw) {
  if (raw.connections.empty()) return {};
  const auto number = raw.connections == "max" ? 0 : parse_number(raw.connections);
  if (!number || *number < 0) {
    return fail("--connections is max or a number a second, not " + raw.connections);
  }
  o.connections = number;
  const Traffic& traffic = o.testbed.traffic;
  const bool other = o.search || o.testbed.bidirectional || traffic.every_packet_new ||
                     traffic.new_flows_per_second > 0 || traffic.sizes.size() > 1;
  if (other) {
    return fail(
        "--connections has packets of its own: it does not go with --search, --bidirectional, "
        "--new-flows or --size imix");
  }
  return {};
}

Result<void> check_search(Options& o, const Raw& raw) {
  const Goal& goal = raw.goal;
  if (raw.pdr_percent <= 0 || raw.pdr_percent >= 100) {
    return fail("--pdr-loss is above 0 and below 100 percent");
  }
  if (goal.width <= 0 || goal.width >= 1) return fail("--width is above 0 and below 1");
  if (goal.exceed_ratio < 0 || goal.exceed_ratio >= 1) {
    return fail("--exceed-ratio is from 0 to below 1");
  }
  if (goal.initial_duration <= 0 || goal.final_duration < goal.initial_duration ||
      goal.duration_sum < goal.final_duration) {
    return fail(
        "--short-trial-seconds is above 0, --trial-seconds no less than it, --duration-sum no "
        "less than that");
  }
  if (o.limits.seconds <= 0) return fail("--search-seconds is above 0");
  o.goals = {goal, goal};
  o.goals[1].loss_ratio = raw.pdr_percent / 100;
  return {};
}

Result<void> check_all(Options& o, const Raw& raw) {
  if (o.testbed.transmit_device.empty()) {
    return fail("--tx: name the device that packets leave from, e.g. 0000:03:00.0");
  }
  if (o.seconds <= 0 || o.seconds > 86400) return fail("--seconds is above 0, to 86400");
  auto rate = parse_rate(raw.rate);
  if (!rate) return tl::unexpected(rate.error());
  o.rate = *rate;
  auto cores = parse_cores(raw.cores);
  if (!cores) return tl::unexpected(cores.error());
  o.eal.cores = o.testbed.cores = *cores;
  o.eal.devices = {o.testbed.transmit_device};
  if (!o.testbed.receive_device.empty()) o.eal.devices.push_back(o.testbed.receive_device);
  if (auto done = check_packets(o, raw); !done) return done;
  if (o.eal.memory_mb == 0) o.eal.memory_mb = memory_needed_mb(o.testbed);
  if (auto done = check_connections(o, raw); !done) return done;
  if (auto done = check_search(o, raw); !done) return done;
  return check_addresses(o, raw);
}

}  // namespace

Result<std::optional<Options>> parse_options(int argc, char** argv) {
  Options options;
  Raw raw;
  const auto known = describe(options, raw);
  po::variables_map given;
  try {
    po::store(po::parse_command_line(argc, argv, known), given);
    po::notify(given);
  } catch (const po::error& error) {
    return fail(error.what());
  }
  if (given.contains("help")) {
    std::cout << known;
    return std::optional<Options>();
  }
  options.open = !given.contains("no-open");
  if (given.contains("connections")) {
    raw.protocol = "tcp";
    if (given["size"].defaulted()) raw.size = raw.family == 4 ? "76" : "96";
  }
  if (auto done = check_all(options, raw); !done) return tl::unexpected(done.error());
  return std::optional(options);
}

}  // namespace podwire::ports
