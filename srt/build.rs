//! Finds the system's libsrt.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // 1.5 brought the reject reasons of a listener's application.
    if let Err(error) = pkg_config::Config::new()
        .range_version("1.5".."1.6")
        .probe("srt")
    {
        // The text names the package config file that is missing.
        println!(
            "cargo:warning=libsrt 1.5 is needed: install libsrt-gnutls-dev (`scripts/setup build` does)"
        );
        println!("cargo:warning={error}");
        std::process::exit(1);
    }
}
