// Takes the place of scratchBytes (by the linker's --wrap), so that scratch memory too ends where foreign memory begins, starts as NaN,
// and is gone as soon as its slot is asked again. Stricter than the contract, under which a slot may be asked again for less.
#include "check.h"

#if defined(EXACT_SCRATCH)

extern "C" void* __real__Z12scratchBytesim(int slot, size_t bytes);

extern "C" void* __wrap__Z12scratchBytesim(int slot, size_t bytes) {
  struct Blocks {
    void* of[kNumScratchSlots] = {};
    ~Blocks() {
      for (void* p : of) freeExact(p);
    }
  };
  thread_local Blocks blocks;
  freeExact(blocks.of[slot]);
  blocks.of[slot] = allocateExact(bytes, 64);
  return blocks.of[slot];
}

void* realScratchBytes(int slot, size_t bytes) { return __real__Z12scratchBytesim(slot, bytes); }

#else

void* realScratchBytes(int slot, size_t bytes) { return scratchBytes(slot, bytes); }

#endif
