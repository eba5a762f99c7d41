//! How the program is linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    // Functions of libtorch are bound when they are first called. With another libtorch than it was built for, which lacks some
    // of them, the program then starts, and says so in an error; bound at once, as is the default, the loader would end it with
    // the mangled name of the first one that is missing.
    if linux && env::var_os("CARGO_FEATURE_TCH").is_some() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,lazy");
    }
}
