//! One call: `library FOLDER TEXT`.

use embedding::Text;
use seq2seq_models::{LoadOptions, Model};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(input)) = (arguments.next(), arguments.next()) else {
        return Err("usage: library FOLDER TEXT".into());
    };
    let text = Text::new(Model::load(folder, &LoadOptions::default())?)?;
    println!("{}", text.write(&input, &mut ())?);
    Ok(())
}
