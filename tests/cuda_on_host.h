// Runs a CUDA kernel on the host: every thread of the grid, one after another.
// Shared memory and barriers are not here: a kernel that needs them is tested on a GPU only.
#include <math.h>

#include <cstddef>
#include <utility>

#define __global__
#define __device__

struct Dimensions { unsigned x, y, z; };
static thread_local Dimensions gridDim, blockDim, blockIdx, threadIdx;

inline double atomicAdd(double* address, double value) {
    double old = *address;
    *address += value;
    return old;
}

// `arguments` holds the address of each argument, as for cuLaunchKernel.
template <typename... P, std::size_t... I>
void thread_of_grid(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<P*>(arguments[I])...);
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
