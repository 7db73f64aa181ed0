// Errors of input and start-up: a value or one sentence. The sentence names the file, object,
// device or peer and the field, and where it can, says what to do; it is shown to operators as it
// stands. Traffic never meets these: it gets a Verdict (stage.h).
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace podwire {

struct Error {
  std::string message;
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(std::string message) {
  return tl::unexpected<Error>(Error{std::move(message)});
}

}  // namespace podwire
