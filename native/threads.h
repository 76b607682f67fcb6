// A persistent pool: parallelFor hands a fixed list of tasks to the calling thread and its helpers. Who takes which task is left to
// chance, so a task must write only what no other task writes, and must not depend on its thread: that is what makes results the
// same for every number of threads.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

using TaskFunction = void (*)(void* context, long task);

void runTasks(long numTasks, TaskFunction function, void* context);
int numThreads();
/// Between 1 and 1024; fewer where the system refuses more.
void setNumThreads(int count);

/// Returns when another task has set `x` to `value`. Tasks begin in order, so a task may wait for one before it.
void waitUntil(const std::atomic<int32_t>& x, int32_t value);

/// Memory of at least `bytes`, 64-byte aligned, kept by this thread and slot until the thread asks the slot for more. Contents undefined.
void* scratchBytes(int slot, size_t bytes);

/// A task runs on any thread, the caller's included, so buffers shared by all tasks and buffers of one task have different slots.
enum ScratchSlot { kShared0, kShared1, kShared2, kTask0, kTask1, kNumScratchSlots };

template <class T>
static inline T* scratch(ScratchSlot slot, size_t count) {
  return static_cast<T*>(scratchBytes(slot, count * sizeof(T)));
}

template <class Body>
static inline void parallelFor(long numTasks, const Body& body) {
  runTasks(
      numTasks, [](void* context, long task) { (*static_cast<const Body*>(context))(task); }, const_cast<Body*>(&body));
}
