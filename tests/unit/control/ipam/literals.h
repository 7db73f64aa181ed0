// Addresses and ranges as texts, for the tests of this folder.
#pragma once

#include "dataplane/net/address.h"

namespace podwire::control {

inline net::Address address(const char* text) {
  return *net::Address::parse(text);
}
inline net::Prefix range(const char* text) {
  return *net::Prefix::parse(text);
}
// No address is reserved.
inline bool nothing(const net::Address&) {
  return false;
}

}  // namespace podwire::control
