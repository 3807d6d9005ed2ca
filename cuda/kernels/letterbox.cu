// From pictures of many streams, each of its own size, to one tensor: scaled with their aspect
// ratio kept, padded, converted to colours and normalised in one pass. One thread makes one pixel
// of the tensor. The arithmetic is that of infer-worker/src/tensor/mod.rs.

#include "device.h"

// Mirrored by kernels/letterbox.rs.
struct picture {
    // Addresses of the first samples; of NV12, `cr` is that of `cb` and one more.
    u64 luma, cb, cr;
    u32 width, height;
    // Bytes from one row to the next, and from one sample of chroma to the next.
    u32 luma_stride, chroma_stride, chroma_step;
    // Where it lies in the tensor.
    u32 left, top, inner_width, inner_height;
    // What chroma adds to blue, green and red.
    float blue_cb, green_cb, green_cr, red_cr;
    u32 reserved;
};

struct letterbox {
    u64 pictures, tensor;
    u32 width, height;
    // 0: 32-bit floats, 1: 16-bit floats, 2: bytes.
    u32 element;
    u32 interleaved, red_first;
    u32 reserved;
    // Of blue, green and red.
    float scale[3], shift[3], padding[3];
    u32 reserved2;
};

// A sample of a plane between its samples, clamped to its edges.
DEVICE float sample(u64 plane, u32 stride, u32 step, u32 width, u32 height, float x, float y) {
    x = fminf(fmaxf(x, 0.0f), (float)(width - 1));
    y = fminf(fmaxf(y, 0.0f), (float)(height - 1));
    u32 left = (u32)x, top = (u32)y;
    u32 right = left + 1 < width ? left + 1 : left;
    u32 bottom = top + 1 < height ? top + 1 : top;
    float across = x - (float)left, down = y - (float)top;
    const u8 *upper = (const u8 *)plane + (u64)top * stride;
    const u8 *lower = (const u8 *)plane + (u64)bottom * stride;
    float first = (float)upper[left * step], second = (float)upper[right * step];
    float third = (float)lower[left * step], fourth = (float)lower[right * step];
    first += (third - first) * down;
    second += (fourth - second) * down;
    return first + (second - first) * across;
}

DEVICE void store(const struct letterbox *to, u64 index, float value) {
    if (to->element == 0)
        ((float *)to->tensor)[index] = value;
    else if (to->element == 1)
        ((u16 *)to->tensor)[index] = half_of(value);
    else
        ((u8 *)to->tensor)[index] = (u8)fminf(fmaxf(value + 0.5f, 0.0f), 255.0f);
}

KERNEL letterbox(const struct letterbox to) {
    u32 x = blockIdx.x * blockDim.x + threadIdx.x;
    u32 y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= to.width || y >= to.height)
        return;
    const struct picture *of = (const struct picture *)to.pictures + blockIdx.z;
    float values[3] = {to.padding[0], to.padding[1], to.padding[2]};
    u32 column = x - of->left, row = y - of->top;
    // Left of it and above it the difference wraps.
    if (column < of->inner_width && row < of->inner_height) {
        float across = ((float)column + 0.5f) / (float)of->inner_width;
        float down = ((float)row + 0.5f) / (float)of->inner_height;
        u32 half_width = (of->width + 1) / 2, half_height = (of->height + 1) / 2;
        float luma = sample(of->luma, of->luma_stride, 1, of->width, of->height,
                            across * (float)of->width - 0.5f, down * (float)of->height - 0.5f);
        float chroma_x = across * (float)half_width - 0.5f;
        float chroma_y = down * (float)half_height - 0.5f;
        float cb = sample(of->cb, of->chroma_stride, of->chroma_step, half_width, half_height,
                          chroma_x, chroma_y) - 128.0f;
        float cr = sample(of->cr, of->chroma_stride, of->chroma_step, half_width, half_height,
                          chroma_x, chroma_y) - 128.0f;
        // 255/219: luma of limited range has 219 steps (ITU-R BT.601-7).
        luma = 1.164383f * (luma - 16.0f);
        float colours[3] = {luma + of->blue_cb * cb,
                            luma + of->green_cb * cb + of->green_cr * cr,
                            luma + of->red_cr * cr};
        for (u32 colour = 0; colour < 3; colour++) {
            float value = fminf(fmaxf(colours[colour], 0.0f), 255.0f);
            values[colour] = value * to.scale[colour] + to.shift[colour];
        }
    }
    u64 pixel = (u64)y * to.width + x, pixels = (u64)to.width * to.height;
    for (u32 colour = 0; colour < 3; colour++) {
        u32 channel = to.red_first ? 2 - colour : colour;
        u64 index = to.interleaved ? (blockIdx.z * pixels + pixel) * 3 + channel
                                   : (blockIdx.z * 3 + channel) * pixels + pixel;
        store(&to, index, values[colour]);
    }
}
