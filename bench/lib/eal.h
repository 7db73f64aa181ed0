// DPDK for a bench that has no packets: without hugepages, devices and files of its own.
#pragma once

namespace podwire::bench {

// Ends the program with a sentence when DPDK does not start.
void start_eal(const char* program);

}  // namespace podwire::bench
