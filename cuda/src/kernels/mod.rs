//! What Sluice lets a device compute. Each kernel checks what it is given before it is queued,
//! so none reads or writes beyond its memory.

mod letterbox;

pub use letterbox::{
    Element, Letterbox, LetterboxError, Picture, PictureTable, Place, Planes, Target,
};

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    /// Source and PTX of each kernel.
    const KERNELS: [(&str, &str, &str); 1] = [(
        "letterbox",
        include_str!("../../kernels/letterbox.cu"),
        super::letterbox::PTX,
    )];

    #[test]
    fn the_ptx_was_made_of_the_source() {
        for (name, source, ptx) in KERNELS {
            let digest = Sha256::new()
                .chain_update(include_str!("../../kernels/device.h"))
                .chain_update(source)
                .finalize();
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let made_of = ptx
                .lines()
                .next()
                .and_then(|line| line.split(' ').next_back());
            assert_eq!(made_of, Some(&*digest), "{name}: run `make kernels`");
        }
    }
}
