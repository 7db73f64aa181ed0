// Which cache lines of the flow table are written by two workers in turn? A build with
// -DPODWIRE_COUNT_LINE_WRITES keeps the last writer of every line and counts the writes of another
// one (tests/model/line_writes.cc); in every other build there is nothing of it.
#pragma once

#include <cstdint>

namespace podwire::flow {

#ifdef PODWIRE_COUNT_LINE_WRITES
// Any thread, for each write to the line in which `place` lies. A worker is a thread.
void note_write(const void* place) noexcept;
// As if nothing had been written yet: for memory that is used anew.
void forget_writers();
// Writes so far to a line that another thread had written last, by all threads.
[[nodiscard]] std::uint64_t crossed_writes() noexcept;
#else
inline void note_write(const void*) noexcept {}
#endif

}  // namespace podwire::flow
