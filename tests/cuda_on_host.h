// Runs a CUDA kernel on the host: every thread of the grid, one after another. At a barrier the next thread of the block goes on.
#include <math.h>
#include <ucontext.h>

#include <cstddef>
#include <utility>

#define __global__
#define __device__
#define __shared__ static

struct Dimensions { unsigned x, y, z; };
static thread_local Dimensions gridDim, blockDim, blockIdx, threadIdx;

inline double atomicAdd(double* address, double value) {
    double old = *address;
    *address += value;
    return old;
}

template <typename I>
inline I atomicMax(I* address, I value) {
    I old = *address;
    if (value > old) *address = value;
    return old;
}
inline int __float_as_int(float x) { int bits; __builtin_memcpy(&bits, &x, sizeof bits); return bits; }
inline long long __double_as_longlong(double x) { long long bits; __builtin_memcpy(&bits, &x, sizeof bits); return bits; }

// `arguments` holds the address of each argument, as for cuLaunchKernel.
template <typename... P, std::size_t... I>
void thread_of_grid(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<P*>(arguments[I])...);
}

// The threads of a block, each with a stack of its own, and where the block is run from.
enum { THREADS = 256, STACK = 1 << 15 };
static ucontext_t in_thread[THREADS], in_block;
static char stacks[THREADS][STACK];
static bool finished[THREADS];

inline void __syncthreads() { swapcontext(&in_thread[threadIdx.x], &in_block); }

template <typename... P>
struct Launch {
    static void (*kernel)(P...);
    static void** arguments;
    static void thread_of_block() {
        thread_of_grid(kernel, arguments, std::index_sequence_for<P...>());
        finished[threadIdx.x] = true;
    }
};
template <typename... P>
void (*Launch<P...>::kernel)(P...);
template <typename... P>
void** Launch<P...>::arguments;

// Kernels that wait at barriers; the others are plain calls, which are many times faster.
template <typename... P>
void over_grid_with_barriers(void (*kernel)(P...), unsigned blocks, unsigned threads, void** arguments) {
    Launch<P...>::kernel = kernel;
    Launch<P...>::arguments = arguments;
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    for (unsigned block = 0; block < blocks; ++block) {
        blockIdx = {block, 0, 0};
        for (unsigned thread = 0; thread < threads; ++thread) {
            finished[thread] = false;
            getcontext(&in_thread[thread]);
            in_thread[thread].uc_stack.ss_sp = stacks[thread];
            in_thread[thread].uc_stack.ss_size = STACK;
            in_thread[thread].uc_link = &in_block;
            makecontext(&in_thread[thread], Launch<P...>::thread_of_block, 0);
        }
        for (unsigned left = threads; left;)
            for (unsigned thread = 0; thread < threads; ++thread) {
                if (finished[thread]) continue;
                threadIdx = {thread, 0, 0};
                swapcontext(&in_block, &in_thread[thread]);
                left -= finished[thread];
            }
    }
}

template <typename... P>
void over_grid(void (*kernel)(P...), unsigned blocks, unsigned threads, void** arguments) {
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    for (unsigned block = 0; block < blocks; ++block)
        for (unsigned thread = 0; thread < threads; ++thread) {
            blockIdx = {block, 0, 0};
            threadIdx = {thread, 0, 0};
            thread_of_grid(kernel, arguments, std::index_sequence_for<P...>());
        }
}
