// The thread pool and scratch memory: every task once, whoever calls and however the number of threads changes meanwhile.
#include "../../native/threads.h"

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "check.h"

void* realScratchBytes(int slot, size_t bytes);

/// Runs a job whose tasks write plain memory, which the caller then reads: a lost wake-up hangs, a lost or doubled task shows, and
/// missing synchronisation is ThreadSanitizer's to see.
static bool runsEachTaskOnce(long numTasks) {
  std::vector<int> runs(numTasks, 0);
  parallelFor(numTasks, [&](long task) { runs[task]++; });
  for (int count : runs)
    if (count != 1) return false;
  return true;
}

TEST(everyTaskRunsOnce) {
  for (int threads = 1; threads <= 5; threads++) {
    setNumThreads(threads);
    CHECK(numThreads() == threads);
    for (long numTasks : {0, 1, 2, 3, 5, 64, 1009})
      for (int repeat = 0; repeat < 20; repeat++) CHECK(runsEachTaskOnce(numTasks));
  }
}

TEST(helpersThatSleptTakePartAgain) {
  setNumThreads(3);
  for (int repeat = 0; repeat < 20; repeat++) {
    std::this_thread::sleep_for(std::chrono::microseconds(repeat * 20));
    // Three tasks that wait for one another need three threads.
    std::atomic<int> inside{0};
    parallelFor(3, [&](long) {
      inside++;
      while (inside < 3) std::this_thread::yield();
    });
    CHECK(inside == 3);
  }
}

TEST(manySmallJobsOfSeveralCallersWhileTheNumberOfThreadsChanges) {
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; caller++)
    callers.emplace_back([&, caller] {
      for (int job = 0; job < 500; job++) wrong += !runsEachTaskOnce((job * 7 + caller) % 23);
    });
  std::thread changer([&] {
    for (int i = 0; !done; i++) {
      setNumThreads(1 + i % 4);
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  });
  for (std::thread& caller : callers) caller.join();
  done = true;
  changer.join();
  CHECK(wrong == 0);
}

TEST(tasksThatWaitForEarlierOnesTakeTheirTurns) {
  for (int threads = 1; threads <= 4; threads++) {
    setNumThreads(threads);
    std::atomic<int32_t> turn{0};
    std::vector<long> order;
    parallelFor(100, [&](long task) {
      waitUntil(turn, (int32_t)task);
      order.push_back(task);
      turn.store((int32_t)task + 1, std::memory_order_release);
    });
    for (long task = 0; task < 100; task++) CHECK(order[task] == task);
  }
}

TEST(kernelsOfSeveralCallersAtOnceGiveTheBitsOfOneCaller) {
  constexpr long m = 37, n = 53, k = 200;
  const Array a = random(m * k, false, 1), b = random(k * n, true, 2), bFloat = random(k * n, false, 3);
  const auto compute = [&] {
    auto c = std::make_unique<Array>(m * n, false);
    kernels.gemm(*c, a, bFloat, m, n, k, false, false, {}, {});
    return c;
  };
  const auto norm = [&] {
    auto out = std::make_unique<Array>(k * n, true);
    kernels.convert(*out, bFloat, k * n);
    kernels.add(*out, *out, b, k * n);
    return out;
  };
  setNumThreads(1);
  const auto expectedC = compute(), expectedSum = norm();
  setNumThreads(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; caller++)
    callers.emplace_back([&, caller] {
      for (int job = 0; job < 20; job++) {
        const auto result = (job + caller) % 2 ? compute() : norm();
        const auto& expected = (job + caller) % 2 ? expectedC : expectedSum;
        wrong += std::memcmp(result->data(), expected->data(), expected->bytes()) != 0;
      }
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST(scratchIsAlignedKeptAndOfItsOwnThreadAndSlot) {
  std::atomic<int> wrong{0};
  const auto use = [&](int mark) {
    unsigned char* slots[kNumScratchSlots];
    for (int slot = 0; slot < kNumScratchSlots; slot++) {
      slots[slot] = static_cast<unsigned char*>(realScratchBytes(slot, 5000));
      wrong += reinterpret_cast<uintptr_t>(slots[slot]) % 64 != 0;
      std::memset(slots[slot], mark + slot, 5000);
    }
    for (int slot = 0; slot < kNumScratchSlots; slot++) {
      wrong += realScratchBytes(slot, 100) != slots[slot];
      for (int i = 0; i < 5000; i++) wrong += slots[slot][i] != mark + slot;
      std::memset(realScratchBytes(slot, 50000), mark, 50000);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; i++) threads.emplace_back(use, 10 * i);
  use(100);
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST(countsOfThreadsOutsideTheRangeAreBroughtIntoIt) {
  setNumThreads(0);
  CHECK(numThreads() == 1);
  setNumThreads(-3);
  CHECK(numThreads() == 1);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Not under sanitizers, which reserve more address space than any limit leaves; and qemu-user ignores the limit.
TEST(threadsThatTheSystemRefusesAreDoneWithout) {
  long pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    CHECK(std::fscanf(file, "%ld", &pages) == 1);
    std::fclose(file);
  }
  rlimit before;
  getrlimit(RLIMIT_AS, &before);
  // Room for the stacks of a few more threads, of 8 MiB each.
  const rlimit tight = {(rlim_t)(pages * sysconf(_SC_PAGESIZE) + (40l << 20)), before.rlim_max};
  setrlimit(RLIMIT_AS, &tight);
  setNumThreads(40);
  setrlimit(RLIMIT_AS, &before);
  CHECK(numThreads() >= 1 && numThreads() <= 40);
  CHECK(runsEachTaskOnce(5000));
}
#endif
