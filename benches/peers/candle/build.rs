//! Gives the program the version of candle that it is built with.

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").expect("Cargo.lock lies beside build.rs");
    let version = lock
        .split("[[package]]")
        .find(|p| p.contains("name = \"candle-core\""))
        .and_then(|p| p.split("version = \"").nth(1)?.split('"').next())
        .expect("candle-core is locked");
    println!("cargo::rustc-env=CANDLE_VERSION={version}");
}
