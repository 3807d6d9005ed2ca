// What kernels need beside plain C, on a device and on a CPU (where tests run them, thread by
// thread: see testkit/fake-cuda).

#ifndef SLUICE_DEVICE_H
#define SLUICE_DEVICE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef __CUDACC__

#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__

// IEEE 754 binary16, rounded to the nearest, ties to even.
DEVICE u16 half_of(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

#else

#include <math.h>
#include <string.h>

#define KERNEL void
#define DEVICE static inline

struct dimensions {
    u32 x, y, z;
};
extern _Thread_local struct dimensions blockIdx, blockDim, threadIdx;

DEVICE u16 half_of(float value) {
    u32 bits;
    memcpy(&bits, &value, sizeof bits);
    u32 sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude >= 0x47800000) // 65536 and above, infinity, not a number
        return (u16)(sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00));
    // Below 2^-14 the step is 2^-24: adding a half makes the CPU round there.
    if (magnitude < 0x38800000) {
        float shifted;
        memcpy(&shifted, &magnitude, sizeof shifted);
        shifted += 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return (u16)(sign | (bits - 0x3f000000));
    }
    u32 odd = magnitude >> 13 & 1;
    return (u16)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

#endif
#endif
