//! Compiles the kernels of `cuda` for the CPU, and gives the library the name of the driver's.

fn main() {
    let kernels = "../../cuda/kernels";
    println!("cargo::rerun-if-changed={kernels}");
    println!("cargo::rerun-if-changed=src/kernels.c");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    cc::Build::new()
        .file("src/kernels.c")
        .include(kernels)
        .std("c11")
        .opt_level(2)
        .flag_if_supported("-Wno-unknown-pragmas")
        .compile("fake_cuda_kernels");
}
