// Metric families in the making, for a scrape. Control thread only.
#pragma once

#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

namespace podwire::control {

class Families {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;
  using Type = prometheus::MetricType;

  // What every name begins with: "podwire_".
  explicit Families(std::string prefix) : prefix_(std::move(prefix)) {}

  void begin(const char* name, const char* help, Type type) {
    prometheus::MetricFamily family;
    family.name = prefix_ + name;
    family.help = help;
    family.type = type;
    all_.push_back(std::move(family));
  }
  // To the family begun last.
  void add(double value, Labels labels = {}) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    if (all_.back().type == Type::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    all_.back().metric.push_back(std::move(metric));
  }
  void counter(const char* name, const char* help, std::uint64_t value) {
    begin(name, help, Type::Counter);
    add(static_cast<double>(value));
  }
  void gauge(const char* name, const char* help, double value) {
    begin(name, help, Type::Gauge);
    add(value);
  }
  void histogram(const char* name, const char* help, const prometheus::Histogram& histogram) {
    begin(name, help, Type::Histogram);
    all_.back().metric.push_back(histogram.Collect());
  }
  std::vector<prometheus::MetricFamily> take() { return std::move(all_); }

 private:
  std::string prefix_;
  std::vector<prometheus::MetricFamily> all_;
};

}  // namespace podwire::control
