// A small reader of BIRD's configuration for tests: statements within blocks. It knows the shape of
// the language and none of its words.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace podwire::tests {

// Every statement with the blocks around it, spaces made one: "protocol bgp X / ipv4 / next hop
// self". A block stands for itself too. Two that say the same stand twice.
std::multiset<std::string> bird_statements(std::string_view text);

}  // namespace podwire::tests
