// The thread pool. One job at a time; a job is open while tasks may still be taken. Helpers enter an open job by raising the count in
// `state`; the caller closes it when no task is left and then waits only for those that entered, so a helper that the system has not
// woken yet delays nobody. Helpers spin for some microseconds (the gap between two kernels), then sleep.
#include "threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int kMaxThreads = 1024;
constexpr auto kSpinTime = std::chrono::microseconds(60);

// state: generation << 32 | open << 31 | number of helpers inside.
constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kGeneration = uint64_t{1} << 32;

struct Pool {
  std::mutex callers;  // two JavaScript threads may call at once
  std::mutex sleepMutex;
  std::condition_variable wake;
  std::atomic<int> sleepers{0};
  std::atomic<int> threads{1};
  int started = 1;
  alignas(64) std::atomic<uint64_t> state{0};
  alignas(64) std::atomic<long> next{0};
  long numTasks = 0;
  TaskFunction function = nullptr;
  void* context = nullptr;
};

// Never destroyed: helpers may still be asleep in it while the process exits.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void takeTasks(Pool& p) {
  for (long task; (task = p.next.fetch_add(1, std::memory_order_relaxed)) < p.numTasks;) p.function(p.context, task);
}

bool joinable(uint64_t state, uint64_t seen, int index, const Pool& p) {
  return (state & kOpen) && state / kGeneration != seen && index < p.threads.load(std::memory_order_relaxed);
}

[[noreturn]] void help(int index) {
  Pool& p = pool();
  uint64_t seen = 0;
  for (;;) {
    uint64_t state = p.state.load();
    const auto until = std::chrono::steady_clock::now() + kSpinTime;
    for (int spins = 1; !joinable(state, seen, index, p); spins++) {
      if (spins % 64 == 0 && std::chrono::steady_clock::now() > until) {
        std::unique_lock<std::mutex> lock(p.sleepMutex);
        p.sleepers++;
        p.wake.wait(lock, [&] { return joinable(state = p.state.load(), seen, index, p); });
        p.sleepers--;
        break;
      }
      relax();
      state = p.state.load();
    }
    seen = state / kGeneration;
    while ((state & kOpen) && state / kGeneration == seen)
      if (p.state.compare_exchange_weak(state, state + 1)) {
        takeTasks(p);
        p.state.fetch_sub(1);
        break;
      }
  }
}

struct ScratchMemory {
  void* data[kNumScratchSlots] = {};
  size_t bytes[kNumScratchSlots] = {};
  ~ScratchMemory() {
    for (void* block : data) std::free(block);
  }
};

}  // namespace

void runTasks(long numTasks, TaskFunction function, void* context) {
  Pool& p = pool();
  if (numTasks <= 1 || p.threads.load() == 1) {
    for (long task = 0; task < numTasks; task++) function(context, task);
    return;
  }
  std::lock_guard<std::mutex> guard(p.callers);
  p.numTasks = numTasks;
  p.function = function;
  p.context = context;
  p.next.store(0);
  p.state.store((p.state.load() / kGeneration + 1) * kGeneration | kOpen);
  if (p.sleepers.load() > 0) {
    { std::lock_guard<std::mutex> lock(p.sleepMutex); }
    p.wake.notify_all();
  }
  takeTasks(p);
  p.state.fetch_and(~kOpen);
  for (int spins = 1; p.state.load() % kOpen != 0; spins++)
    if (spins % 128 == 0)
      std::this_thread::yield();
    else
      relax();
}

void waitUntil(const std::atomic<int32_t>& x, int32_t value) {
  const auto until = std::chrono::steady_clock::now() + kSpinTime;
  for (int spins = 1; x.load(std::memory_order_acquire) != value; spins++)
    if (spins % 64 == 0 && std::chrono::steady_clock::now() > until)
      std::this_thread::sleep_for(kSpinTime);  // the other may need this processor
    else
      relax();
}

int numThreads() { return pool().threads.load(); }

void setNumThreads(int count) {
  Pool& p = pool();
  std::lock_guard<std::mutex> guard(p.callers);
  count = std::clamp(count, 1, kMaxThreads);
  try {
    for (; p.started < count; p.started++) std::thread(help, p.started).detach();
  } catch (const std::system_error&) {
    count = p.started;  // a limit on threads or memory: fewer threads give the same results
  }
  p.threads.store(count);
}

void* scratchBytes(int slot, size_t bytes) {
  thread_local ScratchMemory memory;
  if (memory.bytes[slot] < bytes) {
    std::free(memory.data[slot]);
    const size_t rounded = (bytes + bytes / 8 + 4095) / 4096 * 4096;
    memory.data[slot] = std::aligned_alloc(4096, rounded);
    memory.bytes[slot] = memory.data[slot] ? rounded : 0;
    if (!memory.data[slot]) {
      // There is no way back from the middle of a kernel on another thread.
      std::fprintf(stderr, "continuo: out of memory: a kernel needed %zu MiB of scratch. Use shorter sequences or a smaller batch.\n", rounded >> 20);
      std::abort();
    }
  }
  return memory.data[slot];
}
