// Lines that another process's core has, asked for before they are needed. Any thread.
#pragma once

namespace podwire::io {

// To be written soon: fetched as the only copy, where __builtin_prefetch compiled for x86-64-v2
// fetches a shared one that the write then has to ask for again. Processors without the
// instruction do nothing (AMD64 Architecture Programmer's Manual 3, PREFETCHW; Intel since
// Broadwell, a no-op on its 64-bit ones before).
inline void prefetch_to_write(const void* line) noexcept {
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
}

}  // namespace podwire::io
