//! What cannot be opened says so.

use seq2seq_core::{Backend, Error};
use seq2seq_tch::{Precision, Tch, TchDevice, TchOptions};

#[test]
fn a_gpu_that_is_not_there_is_a_typed_error() {
    let options = TchOptions { device: TchDevice::Cuda(1000), ..TchOptions::default() };
    match Tch::new(options) {
        Err(Error::Unsupported { what, hint }) => {
            // Where there are some, those are named; else what computes instead.
            let instead = if Tch::gpus().is_ok() { "tch:cuda:0" } else { "tch:cpu" };
            assert!(what.contains("tch:cuda") && hint.contains(instead), "{what}: {hint}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_threads_are_a_typed_error() {
    let none = Tch::new(TchOptions { threads: Some(0), ..TchOptions::default() });
    assert!(matches!(none, Err(Error::Invalid { .. })), "{none:?}");
}

#[test]
fn it_says_what_it_is() -> Result<(), Error> {
    let tch = Tch::new(TchOptions { precision: Precision::Exact, ..TchOptions::default() })?;
    assert_eq!(tch.describe(), "libtorch (cpu, exact)");
    Ok(())
}
