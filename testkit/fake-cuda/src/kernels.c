// The kernels of cuda/kernels, one thread after the other.

#include "device.h"

_Thread_local struct dimensions blockIdx, blockDim, threadIdx;

#include "letterbox.cu"

// What `cuLaunchKernel` needs of a kernel that takes one struct: its size, and how it is run.
#define RUN(name)                                                                               \
    const u32 size_of_##name = sizeof(struct name);                                             \
    void run_##name(const void *parameters, const u32 grid[3], const u32 block[3]) {            \
        struct name taken;                                                                      \
        memcpy(&taken, parameters, sizeof taken);                                               \
        blockDim = (struct dimensions){block[0], block[1], block[2]};                           \
        for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)                                \
            for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)                            \
                for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)                        \
                    for (threadIdx.z = 0; threadIdx.z < block[2]; threadIdx.z++)                \
                        for (threadIdx.y = 0; threadIdx.y < block[1]; threadIdx.y++)            \
                            for (threadIdx.x = 0; threadIdx.x < block[0]; threadIdx.x++)        \
                                name(taken);                                                    \
    }

RUN(letterbox)
