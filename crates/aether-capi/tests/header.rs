//! `include/aether.h` is what the sources say.

use std::{env, fs, path::Path};

#[test]
fn the_committed_header_is_the_one_that_the_sources_give() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    // In this order a type comes before the functions that take it.
    for module in ["library", "status", "buffer", "producer", "consumer", "observer"] {
        builder = builder.with_src(folder.join(format!("src/{module}.rs")));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();

    let path = folder.join("include/aether.h");
    if env::var_os("AETHER_WRITE_HEADER").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "include/aether.h is not up to date: write it with `cargo xtask header`");
}
