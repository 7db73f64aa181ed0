// check() holds in every build, at boundaries; dcheck() guards the inside of loops in debug builds.
// Both end the process with a sentence: a broken invariant is ours, never the traffic's.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace podwire {

[[noreturn]] inline void abort_with(const char* sentence, const char* file, int line) {
  std::fprintf(stderr, "podwire: %s (%s:%d)\n", sentence, file, line);
  std::abort();
}

}  // namespace podwire

#define check(condition, sentence) \
  ((condition) ? void() : ::podwire::abort_with(sentence, __FILE__, __LINE__))
#ifdef NDEBUG
#define dcheck(condition, sentence) void()
#else
#define dcheck(condition, sentence) check(condition, sentence)
#endif
